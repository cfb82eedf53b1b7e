"""The UI message stream by hand: the wire, keys, what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.compat.front_ends.conftest import WORDS
from tests.compat.front_ends.wire import assembled, chat, stream_all, types_of
from tests.fixtures.talk import Talk, reason

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_stream_is_marked_and_ends(client: httpx.AsyncClient) -> None:
    answered = await client.post("/agents/assistant/ui", json=chat("Count", session="marked"))
    assert answered.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answered.headers["x-session-id"] == "marked"
    assert answered.text.endswith("data: [DONE]\n\n")


async def test_the_order_of_chunks(client: httpx.AsyncClient) -> None:
    chunks = await stream_all(client, "/agents/assistant/ui", chat("Count", session="order"))
    assert types_of(chunks) == [
        "start",
        "start-step",
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
    ]
    assert assembled(chunks) == [WORDS]
    assert chunks[-1]["finishReason"] == "stop"


async def test_the_same_message_sent_again_is_the_same_turn(client: httpx.AsyncClient) -> None:
    first = await stream_all(client, "/agents/assistant/ui", chat("Count", session="same-ui"))
    assert await stream_all(client, "/agents/assistant/ui", chat("Count", session="same-ui")) == first
    edited = await stream_all(client, "/agents/assistant/ui", chat("Count again", session="same-ui"))
    assert edited[0]["messageId"] != first[0]["messageId"]
    assert (await Talk(client, "same-ui").texts())[::2] == ["Count", "Count again"]


async def test_only_the_last_answer_is_regenerated(client: httpx.AsyncClient) -> None:
    for text in ("Hello", "Hello again"):
        await stream_all(client, "/agents/coder/ui", chat(text, session="last", message=text))
    again = chat("Hello again", session="last", trigger="regenerate-message")
    assert (await stream_all(client, "/agents/coder/ui", again))[-1]["type"] == "finish"
    earlier = chat("Hello", session="last", trigger="regenerate-message")
    assert reason(await client.post("/agents/coder/ui", json=earlier)) == (422, "invalid_request")


async def test_a_page_that_is_loaded_while_the_turn_waits_is_asked_again(client: httpx.AsyncClient) -> None:
    asked = await stream_all(client, "/agents/coder/ui", chat("Delete the program", session="loaded"))
    assert await stream_all(client, "/agents/coder/ui/loaded/stream") == asked
    assert "tool-approval-request" in types_of(asked)
    another = await client.post("/agents/coder/ui", json=chat("Hello", session="loaded", message="m2"))
    assert reason(another) == (409, "session_busy")


async def test_an_approval_from_another_door_is_seen_by_the_page_that_reconnects(client: httpx.AsyncClient) -> None:
    await stream_all(client, "/agents/coder/ui", chat("Delete the program", session="elsewhere"))
    path = "/agents/coder/sessions/elsewhere/approvals"
    (waiting,) = (await client.get(path)).json()["approvals"]
    async with client.stream("GET", "/agents/coder/sessions/elsewhere/messages/stream?after=0&until=turn_end") as _:
        await client.post(f"{path}/{waiting['call_id']}", json={"approved": False})
        seen = await stream_all(client, "/agents/coder/ui/elsewhere/stream")
    assert types_of(seen).index("tool-approval-response") < types_of(seen).index("tool-output-denied")
    assert assembled(seen)[-1] == "Then I leave it where it is."


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"messages": []}, (422, "invalid_request")),
        ({"messages": [{"id": "a", "role": "assistant", "parts": []}]}, (422, "invalid_request")),
        (
            {"messages": [{"id": "a", "role": "user", "parts": [{"type": "file", "url": "x"}]}]},
            (422, "invalid_request"),
        ),
        ({"messages": [{"id": "a", "role": "robot", "parts": []}]}, (422, "invalid_request")),
        ({"id": "a chat"}, (422, "invalid_request")),
        ({"trigger": "something"}, (422, "invalid_request")),
    ],
)
async def test_what_is_no_chat_is_refused(
    client: httpx.AsyncClient, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    body = chat("Hello", session="refused-ui") | changes
    assert reason(await client.post("/agents/assistant/ui", json=body)) == expected
    assert (await client.get("/agents/assistant/sessions/refused-ui")).status_code == 404


async def test_answers_that_nothing_waits_for_are_refused(client: httpx.AsyncClient) -> None:
    part: dict[str, Any] = {"type": "dynamic-tool", "toolCallId": "call_x", "state": "approval-responded"}
    part |= {"approval": {"id": "call_x", "approved": True}}
    body = chat("", session="late", messages=[{"id": "a", "role": "assistant", "parts": [part]}])
    assert reason(await client.post("/agents/coder/ui", json=body)) == (409, "already_decided")
