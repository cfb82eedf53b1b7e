"""Tasks over JSON-RPC and REST, by the official SDK: two agents, streams, lists, cancelling, contexts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import httpx
import pytest
from a2a.client import Client
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    StreamResponse,
    SubscribeToTaskRequest,
    TaskState,
)
from a2a.utils.errors import (
    InvalidParamsError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict

from tests.compat.a2a.conftest import KEYS, Connect, request, states_of, text_of
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")
BINDINGS = ["JSONRPC", "HTTP+JSON", "GRPC"]


async def collect(client: Client, text: str, *, task_id: str = "", context_id: str = "") -> list[StreamResponse]:
    return [event async for event in client.send_message(request(text, task_id=task_id, context_id=context_id))]


async def begin_long(client: Client, upstream: Upstream) -> str:
    """A task whose answer stays in mid-sentence; returns its id."""
    upstream.answer(tokens=["I ", "begin"], hang="after_tokens")
    async for event in client.send_message(request("Talk.", returns_at_once=True)):
        return event.task.id
    raise AssertionError("no task")


@pytest.mark.parametrize("binding", BINDINGS)
async def test_two_agents_answer_with_one_artifact_each(connect: Connect, upstream: Upstream, binding: str) -> None:
    upstream.answer(tokens=["One ", '"two" ', "three ✓."])
    events = await collect(await connect("talker", binding), "Talk.")
    assert events[0].HasField("task")
    assert text_of(events) == 'One "two" three ✓.'
    assert states_of(events) == ["WORKING", "COMPLETED"]
    updates = [event.artifact_update for event in events if event.HasField("artifact_update")]
    assert {update.artifact.artifact_id for update in updates} == {"answer"}
    assert [update.append for update in updates] == [False, *[True] * (len(updates) - 1)]
    assert [update.last_chunk for update in updates] == [*[False] * (len(updates) - 1), True]

    events = await collect(await connect("greeter", binding), "Hi.")
    assert text_of(events) == "Good morning, and hello."


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_task_is_read_back_as_it_was_streamed(connect: Connect, binding: str) -> None:
    client = await connect("greeter", binding)
    events = await collect(client, "Hi.")
    task = await client.get_task(GetTaskRequest(id=events[0].task.id))
    assert task.status.state == TaskState.TASK_STATE_COMPLETED
    assert task.artifacts[0].parts[0].text == text_of(events)
    assert [message.parts[0].text for message in task.history] == ["Hi."]
    assert MessageToDict(task.metadata)["usage"]["totalTokens"] > 0


async def test_a_context_is_a_session_of_every_door(connect: Connect, server: HectorServer) -> None:
    client = await connect("greeter")
    events = await collect(client, "First.", context_id="trip:to.rome")
    assert events[0].task.context_id == "trip:to.rome"
    await collect(client, "Second.", context_id="trip:to.rome")
    async with httpx.AsyncClient(
        base_url=server.base_url, headers={"Authorization": f"Bearer {KEYS['alice']}"}
    ) as http:
        found = (await http.get("/agents/greeter/sessions/trip:to.rome/messages?roles=user")).json()
        assert [message["content"] for message in found["messages"]] == ["First.", "Second."]
        await http.delete("/agents/greeter/sessions/trip:to.rome")
    with pytest.raises(UnsupportedOperationError, match="terminated"):
        await collect(client, "Third.", context_id="trip:to.rome")
    with pytest.raises(TaskNotFoundError):
        await client.get_task(GetTaskRequest(id=events[0].task.id))
    with pytest.raises(InvalidParamsError, match="letters, digits"):
        await collect(client, "Hi.", context_id="no such form")


@pytest.mark.parametrize("binding", BINDINGS)
async def test_tasks_are_listed_page_by_page_the_newest_first(connect: Connect, binding: str) -> None:
    client, context = await connect("greeter", binding), f"list-{binding[0]}"
    ids = [(await collect(client, f"{number}", context_id=context))[0].task.id for number in range(5)]
    found, token = [], ""
    while True:
        page = await client.list_tasks(ListTasksRequest(context_id=context, page_size=2, page_token=token))
        assert page.total_size == 5
        assert not any(task.artifacts for task in page.tasks)
        found += [task.id for task in page.tasks]
        token = page.next_page_token
        if not token:
            break
    assert found == ids[::-1]
    done = await client.list_tasks(
        ListTasksRequest(context_id=context, status=TaskState.TASK_STATE_COMPLETED, include_artifacts=True)
    )
    assert [task.artifacts[0].parts[0].text for task in done.tasks] == ["Good morning, and hello."] * 5
    failed = await client.list_tasks(ListTasksRequest(context_id=context, status=TaskState.TASK_STATE_REJECTED))
    assert not failed.tasks


@pytest.mark.parametrize("binding", BINDINGS)
async def test_cancel_stops_the_model_and_ends_every_stream(connect: Connect, upstream: Upstream, binding: str) -> None:
    client = await connect("talker", binding)
    task_id = await begin_long(client, upstream)
    seen: list[StreamResponse] = []

    async def follow() -> None:
        async for event in client.subscribe(SubscribeToTaskRequest(id=task_id)):
            seen.append(event)  # noqa: PERF401 (it is looked at meanwhile)

    following = asyncio.create_task(follow())
    while text_of(seen) != "I begin":
        await asyncio.sleep(0.01)
    task = await client.cancel_task(CancelTaskRequest(id=task_id))
    assert task.status.state == TaskState.TASK_STATE_CANCELED
    assert task.artifacts[0].parts[0].text == "I begin"
    await asyncio.wait_for(following, 5)
    assert states_of(seen)[-1] == "CANCELED"
    with pytest.raises(TaskNotCancelableError):
        await client.cancel_task(CancelTaskRequest(id=task_id))
    with pytest.raises(UnsupportedOperationError):
        await anext(aiter(client.subscribe(SubscribeToTaskRequest(id=task_id))))
    with pytest.raises(UnsupportedOperationError):
        await collect(client, "More.", task_id=task_id)


async def test_subscribers_are_told_the_same_updates_in_the_same_order(connect: Connect, upstream: Upstream) -> None:
    clients = [await connect("talker", binding) for binding in BINDINGS]
    upstream.answer(tokens=60, delay=0.005)
    first = await anext(aiter(clients[0].send_message(request("Talk.", returns_at_once=True))))
    subscription = SubscribeToTaskRequest(id=first.task.id)

    async def follow(client: Client) -> list[StreamResponse]:
        return [event async for event in client.subscribe(subscription)]

    every = await asyncio.gather(*[follow(client) for client in clients])
    for events in every:
        assert text_of(events) == "".join([f" t{number}" for number in range(60)])
        assert _kinds(events) == _kinds(every[0])


def _kinds(events: list[StreamResponse]) -> list[str]:
    """What a stream told, in order; pieces of text are as large as what was ready for its reader."""
    found: list[str] = []
    for event in events[1:]:
        kind = str(event.status_update) if event.HasField("status_update") else "text"
        if found[-1:] != [kind]:
            found.append(kind)
    return found


async def test_somebody_elses_task_is_an_unknown_one(connect: Connect) -> None:
    alice, bob = await connect("greeter"), await connect("greeter", key="bob")
    task_id = (await collect(alice, "Hi.", context_id="alices"))[0].task.id
    with pytest.raises(TaskNotFoundError) as foreign:
        await bob.get_task(GetTaskRequest(id=task_id))
    unknown_id = task_id[:-1] + ("a" if task_id[-1] != "a" else "b")
    with pytest.raises(TaskNotFoundError) as unknown:
        await bob.get_task(GetTaskRequest(id=unknown_id))
    assert str(foreign.value).replace(task_id, "") == str(unknown.value).replace(unknown_id, "")
    for attempt in (bob.cancel_task(CancelTaskRequest(id=task_id)), collect(bob, "Hi.", task_id=task_id)):
        with pytest.raises(TaskNotFoundError):
            await attempt
    with pytest.raises(InvalidParamsError, match="taken"):
        await collect(bob, "Hi.", context_id="alices")
    assert task_id not in [task.id for task in (await bob.list_tasks(ListTasksRequest())).tasks]
    other_agent = await connect("talker")
    with pytest.raises(TaskNotFoundError):
        await other_agent.get_task(GetTaskRequest(id=task_id))


async def test_a_task_that_a_crash_interrupted_has_failed_and_keeps_its_text(
    server: HectorServer, connect: Connect, upstream: Upstream
) -> None:
    client = await connect("talker")
    task_id = await begin_long(client, upstream)
    while not (await client.get_task(GetTaskRequest(id=task_id))).artifacts:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # the journal is at most 250 ms behind
    await server.kill()
    await server.start()
    task = await client.get_task(GetTaskRequest(id=task_id))
    assert task.status.state == TaskState.TASK_STATE_FAILED
    assert task.artifacts[0].parts[0].text == "I begin"
    assert "server stopped" in task.status.message.parts[0].text


async def test_a_failed_model_fails_the_task(connect: Connect, upstream: Upstream) -> None:
    upstream.answer(tokens=["So ", "far"], error_after=1)
    events = await collect(await connect("talker"), "Talk.")
    assert states_of(events)[-1] == "FAILED"
    assert events[-1].status_update.status.message.parts[0].text
    upstream.default = Reply()


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_client_that_leaves_is_a_reader_that_leaves(connect: Connect, upstream: Upstream, binding: str) -> None:
    upstream.answer(tokens=["I ", "begin"], hang="after_tokens")
    client = await connect("hasty", binding)
    seen: list[StreamResponse] = []

    async def read() -> None:
        async for event in client.send_message(request("Talk.")):
            seen.append(event)  # noqa: PERF401 (it is looked at meanwhile)

    reading = asyncio.create_task(read())
    while text_of(seen) != "I begin":
        await asyncio.sleep(0.01)
    task_id = seen[0].task.id
    reading.cancel()
    while True:
        task = await client.get_task(GetTaskRequest(id=task_id))
        if task.status.state == TaskState.TASK_STATE_CANCELED:
            break
        await asyncio.sleep(0.02)


async def test_a_task_costs_no_writes_that_its_turn_does_not_cost(
    connect: Connect, server: HectorServer, upstream: Upstream
) -> None:
    client = await connect("talker")
    headers = {"Authorization": f"Bearer {KEYS['alice']}"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False, timeout=15) as http:

        async def units() -> float:
            lines = (await http.get("/metrics")).text.splitlines()
            return float(next(line.split()[1] for line in lines if line.startswith("hector_writer_units_total ")))

        async def cost(turn: Awaitable[object]) -> float:
            before = await units()
            upstream.answer(tokens=200, delay=0.002)
            await turn
            return await units() - before

        await http.post("/agents/talker/sessions", json={"session_id": "costs"})
        usual = await cost(http.post("/agents/talker/sessions/costs/messages/stream", json={"message": "Talk."}))
        task = await cost(collect(client, "Talk.", context_id="costs"))
    assert task <= usual + 5


async def test_a_stream_says_that_the_server_stops(connect: Connect, server: HectorServer, upstream: Upstream) -> None:
    client = await connect("talker")
    upstream.answer(tokens=["I"], hang="after_tokens")
    stream = aiter(client.send_message(request("Talk.")))
    await anext(stream)
    server.ask_to_stop()
    with pytest.raises(Exception, match="subscribe to it, in a moment"):
        async for _ in stream:
            pass
    await server.ended()
    await server.start()


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_terminate_from_another_door_ends_the_stream(
    connect: Connect, server: HectorServer, upstream: Upstream, binding: str
) -> None:
    upstream.answer(tokens=["I ", "begin"], hang="after_tokens")
    client, seen = await connect("talker", binding), []
    headers = {"Authorization": f"Bearer {KEYS['alice']}"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False) as http:
        async for event in client.send_message(request("Talk.")):
            seen.append(event)
            if text_of(seen) == "I begin":
                await http.delete(f"/agents/talker/sessions/{seen[0].task.context_id}")
    assert states_of(seen)[-1] == "CANCELED"
    assert text_of(seen) == "I begin"


@pytest.mark.parametrize("binding", BINDINGS)
async def test_an_agents_pace_is_kept(connect: Connect, binding: str) -> None:
    events = await collect(await connect("paced", binding), "Hi.")
    pieces = [one.artifact_update.artifact.parts[0].text for one in events if one.HasField("artifact_update")]
    assert "".join(pieces) == "Good morning, and hello."
    assert max(map(len, pieces)) == 5


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a_reader_that_does_not_read_slows_nothing_and_gets_all_of_it(
    connect: Connect, server: HectorServer, upstream: Upstream, binding: str
) -> None:
    """1 MB in 2,000 deltas: the turn ends while its reader has read one event."""
    words = [f"{number:06d}" + "x" * 506 for number in range(2000)]
    upstream.answer(tokens=words)
    client, other = await connect("talker", binding), await connect("talker")
    stream = aiter(client.send_message(request("Talk.")))
    seen = [await anext(stream)]
    while True:
        task = await other.get_task(GetTaskRequest(id=seen[0].task.id, history_length=0))
        if task.status.state == TaskState.TASK_STATE_COMPLETED:
            break
        await asyncio.sleep(0.02)
    seen += [event async for event in stream]
    assert text_of(seen) == "".join(words)
    assert len(seen) < 1_500, "a reader that lags gets fewer and larger pieces"


@pytest.mark.parametrize("binding", BINDINGS)
async def test_a_message_that_is_sent_twice_to_a_context_is_one_task(
    connect: Connect, upstream: Upstream, binding: str
) -> None:
    client = await connect("talker", binding)
    upstream.answer(tokens=["Once."])
    sent = request("Talk.", context_id=f"twice-{binding[:3]}")
    first, again = [[event async for event in client.send_message(sent)] for _ in range(2)]
    assert first[0].task.id == again[0].task.id
    assert text_of(first) == again[0].task.artifacts[0].parts[0].text == "Once."
    assert len(upstream.requests) == 1
    sent.message.parts[0].text = "Talk on."
    upstream.answer(tokens=["Again."])
    assert text_of([event async for event in client.send_message(sent)]) == "Again."
