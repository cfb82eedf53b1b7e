"""Every operation of a real server answers with what the OpenAPI document declares for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.document import Document
from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Frame, open_stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "200ms"},
    "llms": {
        "echo": {"type": "scripted", "price": {"prompt": 1, "completion": 2}},
        "hanging": {"type": "scripted", "script": [{"text": "Well", "hang": True}]},
        "thinking": {"type": "scripted", "script": [{"thinking": "Hm, a qubit.", "text": "A qubit."}]},
        "acting": {
            "type": "scripted",
            "script": [
                {"calls": [{"name": "todo_write", "arguments": {"todos": []}}]},
                {"calls": [{"name": "ask_user", "arguments": {"question": "Which?", "choices": ["a", "b"]}}]},
                {"text": "Done."},
            ],
        },
        "failing": {"type": "scripted", "script": [{"text": "Well, you", "fail_after": 1, "error": "too many ask"}]},
    },
    "tools": {"result_inline": "1KiB"},
    "agents": {
        "assistant": {"llm": "echo", "memory": {"longterm": {"storage_scope": "all"}}},
        "patience": {"llm": "hanging"},
        "thinker": {"llm": "thinking", "reasoning": {"show_thinking": True, "show_debug_info": True}},
        "failure": {"llm": "failing"},
        "actor": {"llm": "acting", "tools": ["todo_write", "ask_user"], "permissions": {"ask": ["todo_write"]}},
    },
}


@dataclass
class Caller:
    """A client every answer to which is judged by the document."""

    client: httpx.AsyncClient
    document: Document

    async def ask(self, method: str, path: str, body: object = None, *, status: int = 200, **options: Any) -> Any:
        response = await self.client.request(method, path, json=body, **options)
        assert response.status_code == status, response.text
        return response.json() if response.headers.get("content-type") == "application/json" else response.text

    async def frames(self, method: str, path: str, body: object = None) -> list[Frame]:
        async with open_stream(self.client, method, path, json=body) as stream:
            frames = await stream.rest()
        for frame in frames:
            if not frame.is_done:
                self.document.check_event(frame.json)
        return frames


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    folder = tmp_path_factory.mktemp("answers")
    (folder / "papers").mkdir()
    (folder / "papers" / "birds.md").write_text("# Birds\n\n## Parrots\nThe parrot sleeps.\n")
    (folder / "papers" / "broken.pdf").write_text("no pdf")
    settings = {**SETTINGS, "document_stores": {"birds": {"paths": [str(folder / "papers")], "watch": False}}}
    server = HectorServer(folder, settings)
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(server: HectorServer) -> AsyncIterator[Caller]:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=30, trust_env=False) as client:
        document = Document((await client.get("/openapi.json")).json())
        client.event_hooks = {"response": [document.judge]}
        yield Caller(client, document)


async def use_sessions(caller: Caller) -> None:
    sessions = "/agents/assistant/sessions"
    await caller.ask("POST", sessions, {"session_id": "talk", "title": "Birds", "metadata": {"a": [1]}}, status=201)
    await caller.ask("POST", sessions, {"session_id": "talk"})
    await caller.ask("POST", f"{sessions}/talk/messages", {"message": "What is a parrot?"})
    await caller.ask("POST", f"{sessions}/talk/regenerate", {})
    answered = await caller.ask("POST", f"{sessions}/talk/messages", {"message": "And a crow?"})
    await caller.ask("GET", f"{sessions}/talk/turns/{answered['turn_id']}")
    messages = (await caller.ask("GET", f"{sessions}/talk/messages?limit=3"))["messages"]
    await caller.ask("GET", f"{sessions}/talk/events")
    asked = next(message["message_id"] for message in messages if message["role"] == "user")
    await caller.ask("PUT", f"{sessions}/talk/messages/{asked}", {"content": "And a jay?"}, status=201)
    await caller.ask("POST", f"{sessions}/talk/fork", status=201)
    await caller.ask("PATCH", f"{sessions}/talk", {"title": None})
    await caller.ask("GET", f"{sessions}/talk/export?format=markdown")
    exported = await caller.ask("GET", f"{sessions}/talk/export")
    await caller.ask("POST", f"{sessions}/import", exported, status=201)
    await caller.ask("POST", f"{sessions}/talk/tickets", status=201)
    await caller.ask("POST", f"{sessions}/talk/cancel")
    await caller.ask("GET", f"{sessions}?limit=2&order=activity")
    await caller.ask("POST", f"{sessions}/talk/end")
    await caller.ask("GET", f"{sessions}/talk/messages/stream", status=204)
    await caller.ask("DELETE", f"{sessions}/talk?forget=all")
    await caller.ask("GET", f"{sessions}/talk", status=410)


async def use_open_turns(caller: Caller) -> None:
    sessions = "/agents/patience/sessions"
    await caller.ask("POST", sessions, {"session_id": "wait"}, status=201)
    note = {"role": "assistant", "content": "Hello", "turn": False}
    await caller.ask("POST", f"{sessions}/wait/messages", note, status=201)
    for message in ("first", "second"):
        body = {"message": message, "background": True, "on_busy": "queue"}
        await caller.ask("POST", f"{sessions}/wait/messages", body, status=202)

    async def is_writing() -> bool:
        session = await caller.ask("GET", f"{sessions}/wait")
        return bool(session["queued"] == 1 and session["turn"] and session["turn"]["partial_text"])

    await eventually(is_writing)
    assert (await caller.ask("GET", f"{sessions}/wait/messages"))["messages"][-1]["status"] == "running"
    turn = (await caller.ask("GET", f"{sessions}/wait"))["turn"]
    await caller.ask("GET", f"{sessions}/wait/turns/{turn['turn_id']}")
    await caller.ask("POST", f"{sessions}/wait/messages", {"message": "third", "on_busy": "reject"}, status=409)
    cancelled = await caller.ask("POST", f"{sessions}/wait/cancel", {"all": True})
    assert cancelled["status"] == "cancelled"
    await caller.ask("POST", "/agents/assistant/messages", {"message": "Hello"})
    await caller.ask("POST", "/agents/assistant/messages", {"message": "Hello", "background": True}, status=202)


async def use_streams(caller: Caller) -> None:
    kinds = {"text"}
    await caller.ask("POST", "/agents/assistant/memories", {"text": "A parrot is a clever bird"}, status=201)
    for agent in ("assistant", "thinker", "failure"):
        session = f"/agents/{agent}/sessions/seen-{agent}"
        await caller.ask("POST", f"/agents/{agent}/sessions", {"session_id": f"seen-{agent}"}, status=201)
        for _ in range(2):
            frames = await caller.frames("POST", f"{session}/messages/stream", {"message": "What is a parrot?"})
            kinds |= {frame.type for frame in frames}
        if agent == "assistant":
            await caller.frames("POST", f"{session}/regenerate/stream", {})
            await caller.ask("POST", f"{session}/regenerate", {"background": True}, status=202)
            await caller.frames("GET", f"{session}/messages/stream?after=0&until=turn_end")
        if agent == "failure":
            await caller.ask("POST", f"{session}/messages", {"message": "Again?"}, status=502)
            turn_id = (await caller.ask("GET", f"{session}/messages"))["messages"][-1]["turn_id"]
            assert (await caller.ask("GET", f"{session}/turns/{turn_id}"))["error"]
        await caller.ask("GET", f"{session}/events?limit=200")
    await caller.frames("POST", "/agents/assistant/messages/stream", {"message": "Hello"})
    assert {"memory", "thinking", "debug", "error", "turn_started", "turn_finished"} <= kinds


async def use_memories(caller: Caller) -> None:
    memories = "/agents/assistant/memories"
    await caller.ask("POST", "/agents/assistant/sessions", {"session_id": "tea", "user_id": "ann"}, status=201)
    said = {"message": "My sister drinks jasmine tea"}
    await caller.ask("POST", "/agents/assistant/sessions/tea/messages", said)
    added = await caller.ask("POST", memories, {"text": "Ann drinks tea"}, status=201, headers={"X-User-Id": "ann"})
    memory = f"{memories}/{added['memory_id']}"
    await caller.ask("PATCH", memory, {"text": "Ann drinks green tea", "pinned": True})
    await caller.ask("GET", memory)
    assert (await caller.ask("GET", f"{memories}?limit=1"))["next_cursor"]
    found = await caller.ask("POST", f"{memories}/search", {"query": "Who drinks jasmine tea?"})
    assert found["hits"]
    as_another = await caller.ask(
        "POST", f"{memories}/search", {"query": "Who drinks jasmine tea?"}, headers={"X-User-Id": "bob"}
    )
    assert {hit["user_id"] for hit in as_another["hits"]} == {None}
    exported = await caller.ask("GET", f"{memories}/export")
    assert "versions" in exported
    await caller.ask("POST", f"{memories}/import", content=exported.encode())
    await caller.ask("POST", f"{memories}/reindex", {"again": True})
    await caller.ask("DELETE", memory)
    await caller.ask("POST", "/agents/assistant/forget", {"phrase": "jasmine"})


async def use_acts(caller: Caller) -> None:
    session = "/agents/actor/sessions/acting"
    await caller.ask("POST", "/agents/actor/sessions", {"session_id": "acting"}, status=201)
    waiting = await caller.ask("POST", f"{session}/messages", {"message": "Write"}, status=202)
    (call,) = waiting["calls"]
    await caller.ask("GET", f"{session}/turns/{waiting['turn_id']}")
    assert (await caller.ask("GET", f"{session}/approvals"))["approvals"]
    assert (await caller.ask("GET", "/agents/actor/approvals"))["approvals"]
    approval = f"{session}/approvals/{call['call_id']}"
    todos = {"todos": [{"id": str(n), "content": "x" * 900, "status": "pending"} for n in range(4)]}
    await caller.ask("POST", approval, {"approved": True, "arguments": todos, "remember": "session"})
    await caller.ask("POST", approval, {"approved": True}, status=409)

    async def is_asked() -> bool:
        return bool((await caller.ask("GET", f"{session}/calls?state=waiting"))["calls"])

    await eventually(is_asked)
    (question,) = (await caller.ask("GET", f"{session}/calls?state=waiting"))["calls"]
    address = f"{session}/calls/{question['call_id']}"
    await caller.ask("GET", address)
    await caller.ask("POST", f"{address}/result", {"result": "b"})
    await caller.ask("POST", f"{address}/resolve", {"happened": True}, status=409)

    async def is_over() -> bool:
        return bool((await caller.ask("GET", session))["turn"] is None)

    await eventually(is_over)
    result_id = (await caller.ask("GET", f"{session}/calls"))["calls"][0]["result_id"]
    assert (await caller.ask("GET", f"{session}/results/{result_id}?limit=10"))["next_offset"] == 10
    assert {one["role"] for one in (await caller.ask("GET", f"{session}/messages"))["messages"]} >= {"tool"}


async def use_documents(caller: Caller) -> None:
    async def is_read() -> bool:
        return bool((await caller.ask("GET", "/document_stores/birds"))["status"] == "ready")

    await eventually(is_read)
    await caller.ask("GET", "/document_stores")
    page = await caller.ask("GET", "/document_stores/birds/documents?limit=1")
    await caller.ask("GET", f"/document_stores/birds/documents?cursor={page['next_cursor']}")
    assert (await caller.ask("POST", "/document_stores/search", {"query": "parrot"}))["hits"]
    assert (await caller.ask("POST", "/document_stores/birds/search", {"query": "parrot"}))["hits"]
    await caller.ask("POST", "/document_stores/birds/reindex", status=202)


async def use_server(caller: Caller) -> None:
    for path in ("/agents", "/agents/thinker", "/health", "/ready", "/metrics", "/admin/reload", "/admin/replicas"):
        await caller.ask("GET", path)
    for by in ("day", "user", "session", "agent"):
        await caller.ask("GET", f"/usage?by={by}&from=2026-01-01")


async def use_keys(caller: Caller, folder: Path) -> None:
    """On a server that has keys: one without any makes none."""
    key = {"key": "key-of-alice-0123456789", "scopes": ["admin"]}
    server = HectorServer(folder, {**SETTINGS, "auth": {"keys": {"alice": key}}})
    await server.start()
    headers = {"Authorization": f"Bearer {key['key']}"}
    try:
        async with httpx.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False) as client:
            client.event_hooks = {"response": [caller.document.judge]}
            keyed = Caller(client, caller.document)
            made = await keyed.ask("POST", "/admin/keys", {"name": "shop"}, status=201)
            await keyed.ask("GET", "/admin/keys")
            await keyed.ask("DELETE", f"/admin/keys/{made['key_id']}")
    finally:
        await server.close()


async def test_every_success_of_every_operation_is_as_declared(caller: Caller, tmp_path: Path) -> None:
    for use in (use_sessions, use_open_turns, use_streams, use_memories, use_acts, use_documents, use_server):
        await use(caller)
    await use_keys(caller, tmp_path)

    # A call of which nobody knows whether it happened takes a crash: tests/cli/test_coder.py.
    assert caller.document.successes - caller.document.seen == {("resolve", "200")}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/agents/nobody", 404),
        ("GET", "/agents/assistant/sessions/nothing", 404),
        ("GET", "/agents/assistant/sessions?status=gone", 422),
        ("GET", "/agents/thinker/memories", 409),
        ("GET", "/usage?from=yesterday", 422),
    ],
)
async def test_a_refusal_is_as_declared(caller: Caller, method: str, path: str, status: int) -> None:
    await caller.ask(method, path, status=status)


async def test_an_invalid_parameter_is_named_like_a_field_of_a_body(caller: Caller) -> None:
    refused = (await caller.ask("GET", "/agents/assistant/sessions?limit=x", status=422))["error"]

    assert refused["message"] == "limit: must be a whole number, not 'x'"
    assert refused["details"] == {"problems": [{"field": "limit", "problem": "must be a whole number, not 'x'"}]}


@pytest.mark.parametrize("body", ["{", "[]", '{"message": 5}'])
async def test_an_unknown_session_is_404_whatever_was_sent_to_it(caller: Caller, body: str) -> None:
    path = "/agents/assistant/sessions/nothing"
    for method, address in (("PATCH", path), ("POST", f"{path}/fork"), ("POST", f"{path}/cancel")):
        assert (await caller.client.request(method, address, content=body)).status_code == 404


async def test_a_document_refuses_a_field_that_is_not_declared(caller: Caller) -> None:
    with pytest.raises(AssertionError, match="colour"):
        caller.document.check({"status": "ok", "colour": "red"}, {"$ref": "#/components/schemas/Health"})
