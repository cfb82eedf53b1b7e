"""Push notifications of A2A with several servers: each change is told once, and none is lost when the teller dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from a2a.client import Client
from a2a.types import (
    DeleteTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    TaskPushNotificationConfig,
)

from tests.compat.a2a.conftest import connecting, request, settings_for
from tests.compat.a2a.test_push import Receiver, receiver
from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import Databases
from tests.fixtures.upstream import Upstream

__all__ = ["receiver"]

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION, WORKING, DONE = "TASK_STATE_INPUT_REQUIRED", "TASK_STATE_WORKING", "TASK_STATE_COMPLETED"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(
    provider: Upstream, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    folder = Path(tmp_path_factory.mktemp("push"))
    async with Cluster(folder, settings_for(provider), databases.create(), names=("a", "b")) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="session")
async def clients(cluster: Cluster) -> AsyncIterator[list[Client]]:
    """One for each server."""
    async with AsyncExitStack() as stack:
        made = []
        for server in cluster.servers.values():
            await server.be_there()
            connect = await stack.enter_async_context(connecting(server))
            made.append(await connect("asker"))
        yield made


async def begin(client: Client, context: str) -> str:
    """A task that asks its client a question; its id."""
    sent = request("Do it.", returns_at_once=True, context_id=context)
    return str((await anext(aiter(client.send_message(sent)))).task.id)


async def answer(client: Client, task_id: str) -> None:
    async for _ in client.send_message(request("blue", task_id=task_id)):
        pass


async def told_until(receiver: Receiver, task_id: str, state: str) -> list[str]:
    """What the address was told, all of one task, up to a state."""
    states: list[str] = []
    while states[-1:] != [state]:
        _, told = await asyncio.wait_for(receiver.told.get(), 20)
        found: Any = told.get("statusUpdate", told.get("task"))
        assert found.get("taskId", found.get("id")) == task_id
        states.append(found["status"]["state"])
    return states


async def test_the_owner_alone_tells_what_was_asked_for_elsewhere(
    cluster: Cluster, clients: list[Client], receiver: Receiver
) -> None:
    for context in ("told-1", "told-2"):  # the second one is told nothing before the first one's end is
        task_id = await begin(clients[0], context)
        for number in range(2):
            await clients[1].create_task_push_notification_config(
                TaskPushNotificationConfig(task_id=task_id, id=f"c{number}", url=receiver.url)
            )
            if number == 0:
                assert await told_until(receiver, task_id, QUESTION) == [QUESTION]
            else:
                one = DeleteTaskPushNotificationConfigRequest(task_id=task_id, id=f"c{number}")
                await clients[1].delete_task_push_notification_config(one)
        listed = ListTaskPushNotificationConfigsRequest(task_id=task_id)
        assert [one.id for one in (await clients[0].list_task_push_notification_configs(listed)).configs] == ["c0"]
        if context == "told-1":
            await cluster.restart("b")  # it looks for what it has to tell
        await answer(clients[1], task_id)
        assert await told_until(receiver, task_id, DONE) == [WORKING, DONE]


async def test_another_server_tells_what_a_dead_one_was_to_tell(
    cluster: Cluster, clients: list[Client], receiver: Receiver
) -> None:
    task_id = await begin(clients[0], "taken-over")
    config = TaskPushNotificationConfig(task_id=task_id, id="kept", url=receiver.url)
    await clients[0].create_task_push_notification_config(config)
    assert await told_until(receiver, task_id, QUESTION) == [QUESTION]
    await cluster.kill("a")
    await answer(clients[1], task_id)
    states = await told_until(receiver, task_id, DONE)
    assert [state for state in states if state not in (QUESTION, WORKING)] == [DONE]
