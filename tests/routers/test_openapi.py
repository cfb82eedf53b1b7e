"""The OpenAPI document: well-formed, and it has every address with its errors."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi.openapi.models import OpenAPI
from starlette.routing import Route

from app.config.root import Config
from app.llm.scripted import ScriptedLLM
from app.main import create_app
from app.routers.openapi import _ERRORS
from app.runtime import Runtime

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


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Any]:
    config = Config.model_validate(
        {
            "storage": {"url": f"sqlite:///{tmp_path}/hector.db"},
            "llms": {"demo": {"type": "scripted"}},
            "agents": {"assistant": {"llm": "demo"}},
        }
    )
    runtime = Runtime(config, llms={"demo": ScriptedLLM()})
    await runtime.open()
    yield create_app(runtime)
    await runtime.close()


@pytest.fixture
def document(app: Any) -> dict[str, Any]:
    made: dict[str, Any] = app.openapi()
    return made


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, found) for path, methods in document["paths"].items() for method, found in methods.items()]


def test_it_is_a_document(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    assert document["openapi"].startswith("3.1")


def test_it_has_every_address_of_the_application(app: Any, document: dict[str, Any]) -> None:
    served = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route) and route.path.startswith("/agents")
        for method in (route.methods or ())
        if method != "HEAD"
    }
    assert served
    assert served <= {(path, method) for path, method, _ in operations(document)}


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
        assert {str(status) for status in _ERRORS} <= statuses, where


def test_every_parameter_of_a_path_is_declared_once(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        declared = [found["name"] for found in operation["parameters"] if found["in"] == "path"]
        assert sorted(declared) == sorted(re.findall(r"{(\w+)}", path)), f"{method} {path}"


def test_every_schema_is_one_and_refers_to_nothing_outside(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for part in [*bodies, *operation["responses"].values()]:
            for content in part.get("content", {}).values():
                jsonschema.Draft202012Validator.check_schema(content["schema"])
                assert "$ref" not in str(content["schema"]), f"{method} {path}"


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
