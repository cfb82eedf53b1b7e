"""The OpenAPI document: well-formed, and it has every address with its errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

import jsonschema
import orjson
import pytest
import pytest_asyncio
from fastapi.openapi.models import OpenAPI
from fastapi.routing import APIRoute, iter_route_contexts

from app.config.root import Config
from app.domain import event
from app.domain.event import EventKind
from app.domain.turn import Failure, Timings, TurnState, Usage
from app.doors.schemas.errors import DESCRIPTIONS
from app.events.run import fact_json
from app.llm.scripted import ScriptedLLM
from app.main import create_app
from app.routers.openapi import build_document
from app.runtime import Runtime
from tests.fixtures.document import Document

PAGES = {"/", "/docs", "/openapi.json"}
METHODS = {"get", "post", "put", "patch", "delete"}
CONTRACT = {
    "/agents/{agent}/sessions": {"post", "get"},
    "/agents/{agent}/sessions/{session_id}": {"get", "patch", "delete"},
    "/agents/{agent}/sessions/{session_id}/end": {"post"},
    "/agents/{agent}/sessions/{session_id}/cancel": {"post"},
    "/agents/{agent}/sessions/{session_id}/messages": {"get", "post"},
    "/agents/{agent}/sessions/{session_id}/messages/stream": {"get", "post"},
    "/agents/{agent}/messages": {"post"},
    "/agents/{agent}/messages/stream": {"post"},
    "/agents/{agent}/sessions/{session_id}/events": {"get"},
    "/agents/{agent}/sessions/{session_id}/turns/{turn_id}": {"get"},
    "/agents": {"get"},
    "/agents/{agent}": {"get"},
    "/health": {"get"},
    "/ready": {"get"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    config = Config.model_validate(
        {
            "storage": {"url": f"sqlite:///{tmp_path_factory.mktemp('openapi')}/hector.db"},
            "llms": {"demo": {"type": "scripted"}},
            "agents": {"assistant": {"llm": "demo"}},
        }
    )
    runtime = Runtime(config, llms={"demo": ScriptedLLM()})
    await runtime.open()
    yield create_app(runtime)
    await runtime.close()


def test_models_of_answers_are_analysed_for_the_document_alone_and_each_route_once(app: Any) -> None:
    routes = [route for route in app.routes if isinstance(route, APIRoute)]

    assert len(routes) > 40
    assert [route.path for route in routes if route.response_field or route.response_fields] == []
    assert [
        context.path for context in iter_route_contexts(app.routes) if context.original_route not in app.routes
    ] == []


@pytest.fixture(scope="module")
def document(app: Any) -> dict[str, Any]:
    made: dict[str, Any] = app.openapi()
    return made


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, found) for path, methods in document["paths"].items() for method, found in methods.items()]


def test_it_is_a_document(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    assert document["openapi"].startswith("3.1")


def is_of_a_dialect(endpoint: Any) -> bool:
    module = endpoint.__module__ if inspect.isroutine(endpoint) else type(endpoint).__module__
    return str(module).startswith("app.compat.")


def test_it_has_the_addresses_of_the_application_and_no_other(app: Any, document: dict[str, Any]) -> None:
    """What others have specified is in documents of theirs: docs/doors.md."""
    served = {
        (route.path, method.lower())
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or ())
        if method != "HEAD"
        and route.path not in PAGES
        and not is_of_a_dialect(getattr(route.original_route, "endpoint", None))
    }
    assert served == {(path, method) for path, method, _ in operations(document)}


@pytest.mark.parametrize("path", CONTRACT)
def test_it_has_every_address_of_the_contract(document: dict[str, Any], path: str) -> None:
    assert CONTRACT[path] <= set(document["paths"][path])


def test_every_operation_has_a_summary_a_success_and_every_error(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert method in METHODS, where
        assert operation["summary"], where
        statuses = set(operation["responses"])
        assert any(status.startswith("2") for status in statuses), where
        assert {str(status) for status in DESCRIPTIONS} <= statuses, where


def test_every_operation_has_an_id_of_its_own_and_a_tag_that_is_explained(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    tags = {tag for _, _, operation in operations(document) for tag in operation["tags"]}

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in ids)
    assert tags == {tag["name"] for tag in document["tags"]}


def test_every_parameter_of_a_path_is_declared_once(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        declared = [found["name"] for found in operation.get("parameters", []) if found.get("in") == "path"]
        assert sorted(declared) == sorted(re.findall(r"{(\w+)}", path)), f"{method} {path}"


def test_no_parameter_is_null(document: dict[str, Any]) -> None:
    parameters = [found for _, _, operation in operations(document) for found in operation.get("parameters", [])]

    assert [found for found in parameters if "null" in str(found.get("schema"))] == []


def test_every_kind_of_event_has_a_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    kinds = [schemas[name.rpartition("/")[2]]["properties"]["type"]["const"] for name in references(schemas["Event"])]

    assert sorted(kinds) == sorted(EventKind)


EVENTS: list[event.Event] = [
    event.TurnQueued("t", "s", "m", "Hello"),
    event.TurnStarted("t", "s", "m", "Hello"),
    event.TurnFinished("t", TurnState.COMPLETED, "m", None, Usage(1, 2, "counted"), Timings(0.1, 0.2, 0.3)),
    event.TurnFinished("t", TurnState.CANCELLED, reason="cancelled"),
    event.ToolCalled("t", "c", "write_file", {"path": "a"}, "idempotent", 1, "[Tool]", "coder", 1),
    event.ToolProgressed("t", "c", "half", 50.0),
    event.ToolEnded("t", "c", "write_file", "settled", "done", ms=4, sandbox="landlock"),
    event.ToolEnded("t", "c", "read_file", "settled", "the start", "res_1", 40_000, 4),
    event.TurnWaiting("t", "input", "c", 1_700_000_000_000, {"question": "Which?", "choices": ["a"]}),
    event.TurnResumed("t", "c"),
    event.ApprovalRequested("t", "c", "pay", {"to": "ann"}, "A rule asks for it.", "pay", 1_700_000_000_000),
    event.ApprovalDecided("t", "c", True, "alice", True, "well", "session"),
    event.MessageSteered("t", "m", "Shorter", 2),
    event.BudgetReached("t", "steps", 4, 5, "warn"),
    event.Relayed(EventKind.TOOL_PROGRESS, "t", {"call_id": "c", "text": "I"}, "writer", 1),
    event.TurnFailed("t", Failure("llm_error", "It is ill.", "cough", 500)),
    event.MemoryRecalled("t", {"recall": "late", "memories": [], "tokens": 0, "by_meaning": False, "took_ms": 1.5}),
    event.HistorySummarized("t", {"status": "failed", "message": "It was stopped.", "left_out": 2}),
    event.DebugLine("t", "[Recalled: 0.9 tea]"),
    event.Snapshot("t", "m", "Hello"),
    event.SessionEnded("s", "expired"),
    event.SessionEnded("s"),
    event.SessionTerminated("s"),
    event.Reconnect(41),
    event.Reconnect("41:12"),
]


def test_there_is_an_example_of_every_event() -> None:
    assert {type(one) for one in EVENTS} == set(get_args(event.Event))


@pytest.mark.parametrize("one", EVENTS, ids=repr)
def test_an_event_fits_its_schema(document: dict[str, Any], one: event.Event) -> None:
    Document(document).check_event(orjson.loads(fact_json(one)))


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_reference_leads_to_a_component_and_every_component_is_used(document: dict[str, Any]) -> None:
    known = {f"#/components/{kind}/{name}" for kind, found in document["components"].items() for name in found}
    used = set(references(document))

    assert used <= known
    assert {name for name in known - used if "/securitySchemes/" not in name} == set()


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(media type, content) of the body and of each answer."""
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for part in [*bodies, *operation["responses"].values()]:
        yield from part.get("content", {}).items()


def test_every_json_body_and_answer_is_of_a_named_schema(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for media_type, content in contents(operation):
            schema = content["schema"]
            if media_type != "application/json":
                assert schema == {"type": "string"}, f"{method} {path}"
                continue
            parts = schema.get("anyOf", [schema])
            assert all("$ref" in part or part == {"type": "null"} for part in parts), f"{method} {path}"


def test_a_sequence_names_the_schema_of_its_items(document: dict[str, Any]) -> None:
    items = {
        operation["operationId"]: content["itemSchema"]["$ref"].rpartition("/")[2]
        for _, _, operation in operations(document)
        for _, content in contents(operation)
        if "itemSchema" in content
    }

    assert items == {
        "stream_message": "Frame",
        "stream_one_shot": "Frame",
        "stream_regenerated": "Frame",
        "follow_session": "Frame",
        "export_memories": "MemoryLine",
        "import_memories": "ImportedMemory",
    }


def test_every_schema_is_one(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_an_example_of_a_schema_is_valid(document: dict[str, Any]) -> None:
    components = document["components"]
    examples = [
        (name, example) for name, schema in components["schemas"].items() for example in schema.get("examples", [])
    ]

    assert examples
    for name, example in examples:
        jsonschema.validate(example, {"$ref": f"#/components/schemas/{name}", "components": components})


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for name in references(content):
                schema = document["components"]["schemas"][name.rpartition("/")[2]]
                assert schema["examples"], f"{method} {path}"


def test_a_body_may_be_left_out_where_no_field_is_required(document: dict[str, Any]) -> None:
    optional = {
        operation["operationId"]
        for _, _, operation in operations(document)
        if operation.get("requestBody", {}).get("required") is False
    }

    assert {"create_session", "fork_session", "cancel_turn", "regenerate", "reindex_memories"} <= optional
    assert not {"send_message", "add_memory", "forget", "import_session", "import_memories"} & optional


@pytest.mark.parametrize(
    ("needs_key", "security"), [(True, [{"key": []}]), (False, [{"key": []}, {}])], ids=["with keys", "without"]
)
def test_a_key_is_needed_where_there_are_keys_but_for_the_state_of_the_server(
    app: Any, needs_key: bool, security: list[dict[str, list[str]]]
) -> None:
    document = build_document(app, needs_key=needs_key, public_url=None)

    assert document["security"] == security
    assert {path for path, _, operation in operations(document) if operation.get("security") == []} == {
        "/health",
        "/ready",
    }


def test_addresses_stand_below_the_path_of_the_public_url(app: Any) -> None:
    document = build_document(app, needs_key=False, public_url="https://example.org/hector/")

    assert document["servers"] == [{"url": "/hector"}]


def test_what_a_route_answers_when_all_goes_well_is_there(document: dict[str, Any]) -> None:
    def successes(path: str, method: str) -> set[str]:
        return {status for status in document["paths"][path][method]["responses"] if status.startswith("2")}

    session = "/agents/{agent}/sessions/{session_id}"
    assert successes("/agents/{agent}/sessions", "post") == {"200", "201"}
    assert successes(f"{session}/messages", "post") == {"200", "201", "202"}
    assert successes(f"{session}/messages/stream", "get") == {"200", "204"}
    assert successes(session, "delete") == {"200"}
    stream = document["paths"][f"{session}/messages/stream"]["post"]["responses"]["200"]["content"]
    assert list(stream) == ["text/event-stream"]


def test_asking_twice_gives_the_same_document(app: Any) -> None:
    assert app.openapi() is app.openapi()
