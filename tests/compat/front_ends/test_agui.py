"""AG-UI by hand: recordings for the validator, keys, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.tools import PROGRAMS, run
from tests.compat.front_ends.conftest import WORDS
from tests.compat.front_ends.wire import run_input, stream_all, types_of
from tests.fixtures.talk import Talk, reason

pytestmark = pytest.mark.asyncio(loop_scope="session")


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join([event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"])


@pytest.mark.parametrize(
    ("message", "thread"), [("Write a hello world program", "tools"), ("Ask the reviewer", "agents")]
)
async def test_a_run_with_tools_is_valid(client: httpx.AsyncClient, tmp_path: Path, message: str, thread: str) -> None:
    answered = await client.post("/agents/coder/agui", json=run_input(message, thread=f"valid-{thread}"))
    (tmp_path / "run.sse").write_bytes(answered.content)

    report = await run(PROGRAMS / "ag-ui-validate", "run.sse", folder=tmp_path)

    assert "0 errors, 0 warnings" in report
    assert answered.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_an_interrupt_and_the_run_that_resumes_are_valid(client: httpx.AsyncClient, tmp_path: Path) -> None:
    asked = await client.post("/agents/coder/agui", json=run_input("Delete the program", thread="valid-resume"))
    waiting = (await client.get("/agents/coder/sessions/valid-resume/approvals")).json()["approvals"]
    resume = [{"interruptId": waiting[0]["call_id"], "status": "cancelled"}]
    body = run_input("", thread="valid-resume", run="r2", messages=[], resume=resume)
    resumed = await client.post("/agents/coder/agui", json=body)
    (tmp_path / "both.sse").write_bytes(asked.content + resumed.content)

    report = await run(PROGRAMS / "ag-ui-validate", "both.sse", folder=tmp_path)

    assert "0 errors, 0 warnings" in report
    assert "human-in-the-loop" in report


async def test_the_run_says_which_turn_it_is(client: httpx.AsyncClient) -> None:
    first, *_ = await stream_all(client, "/agents/assistant/agui", run_input("Count", thread="which"))
    assert (first["type"], first["threadId"], first["runId"]) == ("RUN_STARTED", "which", "r1")
    turn = await Talk(client, "which").turn(first["metadata"]["hector"]["turn_id"])
    assert turn["status"] == "completed"


async def test_the_same_run_sent_again_is_the_same_turn(client: httpx.AsyncClient) -> None:
    body = run_input("Count", thread="same")
    first = await stream_all(client, "/agents/assistant/agui", body)
    assert await stream_all(client, "/agents/assistant/agui", body) == first
    assert text_of(first) == WORDS
    refused = await client.post("/agents/assistant/agui", json=run_input("Something else", thread="same"))
    assert reason(refused) == (409, "idempotency_conflict")


async def test_a_retry_of_a_run_that_waits_gets_its_interrupts_again(client: httpx.AsyncClient) -> None:
    body = run_input("Delete the program", thread="retry")
    first = await stream_all(client, "/agents/coder/agui", body)
    again = await stream_all(client, "/agents/coder/agui", body)
    assert again[-1]["outcome"] == first[-1]["outcome"]
    assert again[-1]["outcome"]["type"] == "interrupt"


async def test_a_resume_answers_all_interrupts_or_none(client: httpx.AsyncClient) -> None:
    asked = await stream_all(client, "/agents/coder/agui", run_input("Ask me something", thread="all"))
    (interrupt,) = asked[-1]["outcome"]["interrupts"]
    body = run_input("", thread="all", run="r2", resume=[{"interruptId": "call_x", "status": "resolved"}])
    assert reason(await client.post("/agents/coder/agui", json=body)) == (409, "already_decided")
    body["resume"] = [{"interruptId": interrupt["id"], "status": "resolved", "payload": "spaces"}]
    assert (await stream_all(client, "/agents/coder/agui", body))[-1]["outcome"] == {"type": "success"}
    assert reason(await client.post("/agents/coder/agui", json=body)) == (409, "already_decided")


async def test_context_of_the_page_is_told_to_the_model(client: httpx.AsyncClient) -> None:
    context = [{"description": "The page", "value": "Invoice 12"}]
    body = run_input("Count", thread="context", context=context)
    started, *_ = await stream_all(client, "/agents/assistant/agui", body)
    turn_id = started["metadata"]["hector"]["turn_id"]
    assert types_of([started]) == ["RUN_STARTED"]
    # The same run without it is another body.
    refused = await client.post("/agents/assistant/agui", json=run_input("Count", thread="context"))
    assert reason(refused) == (409, "idempotency_conflict")
    assert (await Talk(client, "context").turn(turn_id))["status"] == "completed"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"messages": []}, (422, "invalid_request")),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, (422, "invalid_request")),
        ({"messages": [{"role": "user", "content": " "}]}, (422, "invalid_request")),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, (422, "invalid_request")),
        ({"messages": "Hello"}, (422, "invalid_request")),
        ({"threadId": "a thread"}, (422, "invalid_request")),
        ({"runId": ""}, (422, "invalid_request")),
        ({"resume": [{"interruptId": "x", "status": "maybe"}]}, (422, "invalid_request")),
        ({"messages": [{"role": "user", "content": "x" * 2_000_000}]}, (413, "too_large")),
    ],
)
async def test_what_is_no_run_is_refused(
    client: httpx.AsyncClient, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    body = run_input("Hello", thread="refused") | changes
    assert reason(await client.post("/agents/assistant/agui", json=body)) == expected
    assert (await client.get("/agents/assistant/sessions/refused")).status_code == 404
