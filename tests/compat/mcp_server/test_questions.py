"""A turn that waits asks the client's user where the protocol lets it, else the result says who can answer."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.compat.mcp_server.test_calls import both, text_of
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_clients import OLDER, Forms, Tasks, ask_task, begin_task, connected
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk

pytestmark = pytest.mark.asyncio(loop_scope="session")

GO = {"message": "Go"}


async def outcomes(rest: httpx.AsyncClient, agent: str, session_id: str) -> list[str]:
    messages = await Talk(rest, session_id, agent=agent).messages()
    return [message["content"] for message in messages if message["role"] == "tool"]


@both
async def test_a_question_of_the_agent_becomes_a_form(server: HectorServer, rest: httpx.AsyncClient, mode: str) -> None:
    forms = Forms({"answer": "red"})
    async with connected(server.base_url, mode=mode, elicitation_callback=forms) as client:
        result = await client.call_tool("painter", GO)

    asked: Any = forms.asked[0]
    assert asked.message == "Which?"
    assert asked.requested_schema["properties"]["answer"]["enum"] == ["red"]
    assert text_of(result) == "Painted."
    assert await outcomes(rest, "painter", result.structured_content["session_id"]) == ["red"]


@both
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"approved": True}, "successfully"),
        ({"approved": False, "reason": "too big"}, "A person refused this call: too big"),
        ("decline", "A person refused this call."),
    ],
)
async def test_an_approval_is_asked_for_and_given(
    server: HectorServer, rest: httpx.AsyncClient, mode: str, answer: Any, told: str
) -> None:
    forms = Forms(answer)
    async with connected(server.base_url, mode=mode, elicitation_callback=forms) as client:
        result = await client.call_tool("writer", GO)

    assert "writer wants to call write_file" in forms.asked[0].message
    assert result.structured_content["status"] == "completed"
    (outcome,) = await outcomes(rest, "writer", result.structured_content["session_id"])
    assert told in outcome


@both
async def test_who_does_not_answer_is_told_who_can(server: HectorServer, mode: str) -> None:
    async with connected(server.base_url, mode=mode, elicitation_callback=Forms("cancel")) as client:
        result = await client.call_tool("writer", GO)

    assert result.structured_content["status"] == "waiting"


@both
async def test_a_client_without_forms_is_told_how_to_approve(
    server: HectorServer, rest: httpx.AsyncClient, mode: str
) -> None:
    async with connected(server.base_url, mode=mode) as client:
        result = await client.call_tool("writer", GO)

    session_id = result.structured_content["session_id"]
    (waiting,) = result.structured_content["waiting_for"]
    assert f"hector chat writer --session {session_id}" in text_of(result)
    address = text_of(result).rpartition("POST ")[2].partition(" ")[0].replace("CALL_ID", waiting["call_id"])
    assert (await rest.post(address, json={"approved": True})).status_code == 200


async def test_an_answer_from_elsewhere_goes_on_with_a_call_that_asks(
    server: HectorServer, rest: httpx.AsyncClient
) -> None:
    is_asked, never = asyncio.Event(), asyncio.Event()

    async def ask(context: Any, params: Any) -> Any:
        is_asked.set()
        await never.wait()

    async with connected(server.base_url, mode=OLDER, elicitation_callback=ask) as client:
        call = asyncio.create_task(client.call_tool("writer", GO))
        await is_asked.wait()
        session = (await rest.get("/agents/writer/sessions?limit=1")).json()["sessions"][0]
        path = f"/agents/writer/sessions/{session['session_id']}"
        (act,) = (await rest.get(f"{path}/approvals")).json()["approvals"]
        assert (await rest.post(f"{path}/approvals/{act['call_id']}", json={"approved": True})).status_code == 200
        result = await call

    assert result.structured_content["status"] == "completed"


async def test_a_question_of_a_task_is_answered_by_an_update(server: HectorServer) -> None:
    async with connected(server.base_url, extensions=[Tasks()], elicitation_callback=Forms()) as client:
        task = await begin_task(client, "painter", "Go")
        found = await ask_task(client, "tasks/get", task)
        assert found["status"] == "input_required"
        (key,) = found["inputRequests"]
        assert found["inputRequests"][key]["params"]["message"] == "Which?"
        answer = {"action": "accept", "content": {"answer": "red"}}
        await ask_task(client, "tasks/update", task, input_responses={"other.1": answer})
        assert (await ask_task(client, "tasks/get", task))["status"] == "input_required"
        await ask_task(client, "tasks/update", task, input_responses={key: answer})

        async def done() -> dict[str, Any] | None:
            found = await ask_task(client, "tasks/get", task)
            return found if found["status"] == "completed" else None

        completed = await eventually(done)

    assert completed is not None
    assert completed["result"]["content"][0]["text"] == "Painted."


async def test_an_answer_may_come_after_a_restart(server: HectorServer) -> None:
    async with connected(server.base_url, elicitation_callback=Forms()) as client:
        asked: Any = await client.session.call_tool("painter", GO, allow_input_required=True)
    await server.stop()
    await server.start()
    async with connected(server.base_url, elicitation_callback=Forms()) as client:
        (key,) = asked.input_requests
        answers: Any = {key: {"action": "accept", "content": {"answer": "red"}}}
        result = await client.call_tool("painter", GO, input_responses=answers, request_state=asked.request_state)

    assert text_of(result) == "Painted."
