"""Tasks that wait for their client: approvals and questions, answered by a message with the same taskId."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from a2a.client import Client
from a2a.types import (
    GetTaskRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from a2a.utils.errors import InvalidParamsError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from tests.compat.a2a.conftest import Connect, request, states_of, text_of
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")
BINDINGS = ["JSONRPC", "HTTP+JSON", "GRPC"]


async def waiting_task(client: Client) -> tuple[Task, list[StreamResponse]]:
    """A task that waits, and what its stream told until then."""
    events = [event async for event in client.send_message(request("Do it."))]
    assert states_of(events)[-1] == "INPUT_REQUIRED"
    return await client.get_task(GetTaskRequest(id=events[0].task.id)), events


def data_answer(task_id: str, **answer: object) -> SendMessageRequest:
    part = Part(data=ParseDict(answer, Value()))
    return SendMessageRequest(
        message=Message(message_id=uuid4().hex, role=Role.ROLE_USER, parts=[part], task_id=task_id)
    )


@pytest.mark.parametrize("binding", BINDINGS)
async def test_an_approval_is_asked_for_and_given(connect: Connect, binding: str) -> None:
    client = await connect("writer", binding)
    task, events = await waiting_task(client)
    asked = events[-1].status_update.status.message
    assert task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    assert asked.parts[0].text.startswith('May I run write_file {"content":"x","path":"a.txt"}?')
    assert MessageToDict(asked.parts[1].data) == MessageToDict(task.status.message.parts[1].data)
    after = [event async for event in client.send_message(request("Yes.", task_id=task.id))]
    assert after[0].task.status.state == TaskState.TASK_STATE_WORKING
    assert states_of(after) == ["WORKING", "COMPLETED"]
    assert text_of(events) + text_of(after) == "I write.It is written."
    task = await client.get_task(GetTaskRequest(id=task.id))
    assert task.artifacts[0].parts[0].text == "I write.It is written."


async def test_an_approval_is_refused_with_a_reason(connect: Connect) -> None:
    client = await connect("writer")
    task, _ = await waiting_task(client)
    after = [event async for event in client.send_message(request("No: not today", task_id=task.id))]
    assert text_of(after) == "Then not."


async def test_an_answer_that_is_neither_yes_nor_no_decides_nothing(connect: Connect) -> None:
    client = await connect("writer")
    task, _ = await waiting_task(client)
    for unclear in (request("Yes, but elsewhere", task_id=task.id), data_answer(task.id, approved="yes")):
        with pytest.raises(InvalidParamsError, match="yes"):
            await anext(aiter(client.send_message(unclear)))
    with pytest.raises(InvalidParamsError, match="call_id"):
        await anext(aiter(client.send_message(data_answer(task.id, approved=True, call_id="call_other"))))
    still = await client.get_task(GetTaskRequest(id=task.id))
    assert still.status.state == TaskState.TASK_STATE_INPUT_REQUIRED


async def test_an_approval_may_change_the_arguments(connect: Connect, server: HectorServer) -> None:
    client = await connect("writer")
    task, _ = await waiting_task(client)
    answer = data_answer(task.id, approved=True, arguments={"path": "b.txt", "content": "edited"})
    after = [event async for event in client.send_message(answer)]
    assert states_of(after)[-1] == "COMPLETED"
    assert (server.folder / "workspace" / "b.txt").read_text() == "edited"


async def test_a_question_is_answered_after_a_restart(connect: Connect, server: HectorServer) -> None:
    client = await connect("asker")
    task, _ = await waiting_task(client)
    assert task.status.message.parts[0].text == "Which? (red, blue)"
    await server.stop()
    await server.start()
    after = [event async for event in client.send_message(request("blue", task_id=task.id))]
    assert text_of(after) == "Blue it is."


async def test_a_subscriber_sees_the_question_and_what_comes_after_the_answer(connect: Connect) -> None:
    client = await connect("writer", "HTTP+JSON")
    task, _ = await waiting_task(client)
    seen: list[StreamResponse] = []

    async def follow() -> None:
        async for event in client.subscribe(SubscribeToTaskRequest(id=task.id)):
            seen.append(event)  # noqa: PERF401 (it is looked at meanwhile)

    following = asyncio.create_task(follow())
    while "INPUT_REQUIRED" not in states_of(seen):
        await asyncio.sleep(0.01)
    async for _ in client.send_message(request("yes", task_id=task.id)):
        pass
    await asyncio.wait_for(following, 5)
    assert states_of(seen) == ["WORKING", "INPUT_REQUIRED", "WORKING", "COMPLETED"]
    assert text_of(seen) == "I write.It is written."


async def test_a_waiting_request_returns_when_the_task_waits(connect: Connect) -> None:
    client = await connect("asker")
    client._config.streaming = False  # type: ignore[attr-defined]
    (event,) = [event async for event in client.send_message(request("Do it."))]
    assert event.task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    (event,) = [event async for event in client.send_message(request("blue", task_id=event.task.id))]
    assert event.task.status.state == TaskState.TASK_STATE_COMPLETED
    assert event.task.artifacts[0].parts[0].text == "Blue it is."
