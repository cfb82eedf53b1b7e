"""Push notifications: who is told, with which credentials, and which addresses are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest
import pytest_asyncio
from a2a.types import (
    AuthenticationInfo,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError
from aiohttp import web

from tests.compat.a2a.conftest import KEYS, Connect, connecting, request, settings_for
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Receiver:
    """An address that takes notifications; refuses the first `failures` of them."""

    def __init__(self) -> None:
        self.url = ""
        self.failures = 0
        self.told: asyncio.Queue[tuple[dict[str, str], dict[str, object]]] = asyncio.Queue()

    async def take(self, request: web.Request) -> web.Response:
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        self.told.put_nowait((dict(request.headers), orjson.loads(await request.read())))
        return web.Response()


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/told", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/told"
    yield found
    await runner.cleanup()


async def test_a_client_that_asked_in_its_message_is_told_the_question_and_the_end(
    connect: Connect, receiver: Receiver
) -> None:
    client = await connect("asker")
    sent = request("Do it.", returns_at_once=True)
    sent.configuration.task_push_notification_config.CopyFrom(
        TaskPushNotificationConfig(
            url=receiver.url, token="word", authentication=AuthenticationInfo(scheme="Bearer", credentials="secret")
        )
    )
    receiver.failures = 1
    task = (await anext(aiter(client.send_message(sent)))).task
    headers, told = await asyncio.wait_for(receiver.told.get(), 10)
    assert (headers["X-A2A-Notification-Token"], headers["Authorization"]) == ("word", "Bearer secret")
    assert told["statusUpdate"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"  # type: ignore[index]
    async for _ in client.send_message(request("blue", task_id=task.id)):
        pass
    states = []
    while "task" not in told:
        _, told = await asyncio.wait_for(receiver.told.get(), 10)
        states.append(told.get("statusUpdate", told.get("task"))["status"]["state"])  # type: ignore[index]
    assert states == ["TASK_STATE_WORKING", "TASK_STATE_COMPLETED"]
    assert told["task"]["artifacts"][0]["parts"][0]["text"] == "Blue it is."  # type: ignore[index]


async def test_a_task_that_is_over_at_once_is_told(connect: Connect, receiver: Receiver) -> None:
    client = await connect("greeter", "HTTP+JSON")
    sent = request("Hi.", returns_at_once=True)
    sent.configuration.task_push_notification_config.url = receiver.url
    await anext(aiter(client.send_message(sent)))
    told: dict[str, object] = {}
    while "task" not in told:
        _, told = await asyncio.wait_for(receiver.told.get(), 10)


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_configs_are_kept_for_each_task(
    connect: Connect, upstream: Upstream, receiver: Receiver, binding: str
) -> None:
    client = await connect("talker", binding)
    upstream.answer(tokens=["I"], hang="after_tokens")
    task = (await anext(aiter(client.send_message(request("Talk.", returns_at_once=True))))).task
    made = [
        await client.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task.id, id=f"c{number}", url=receiver.url)
        )
        for number in range(4)
    ]
    with pytest.raises(InvalidParamsError, match="max_push"):
        await client.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task.id, id="more", url=receiver.url)
        )
    one = GetTaskPushNotificationConfigRequest(task_id=task.id, id="c1")
    assert await client.get_task_push_notification_config(one) == made[1]
    await client.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="c1"))
    with pytest.raises(TaskNotFoundError):
        await client.get_task_push_notification_config(one)
    listed = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task.id))
    assert [config.id for config in listed.configs] == ["c0", "c2", "c3"]
    stranger = await connect("talker", key="bob")
    with pytest.raises(TaskNotFoundError):
        await stranger.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task.id))


async def test_an_address_outlives_the_server_and_goes_with_the_session(
    upstream: Upstream, receiver: Receiver, tmp_path: Path
) -> None:
    server = HectorServer(tmp_path, settings_for(upstream))
    await server.start()
    async with connecting(server) as connect:
        client = await connect("asker")
        sent = request("Do it.", returns_at_once=True, context_id="kept")
        sent.configuration.task_push_notification_config.url = receiver.url
        task = (await anext(aiter(client.send_message(sent)))).task
        _, told = await asyncio.wait_for(receiver.told.get(), 10)
        assert told["statusUpdate"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"  # type: ignore[index]
        await server.kill()
        await server.start()
        listed = ListTaskPushNotificationConfigsRequest(task_id=task.id)
        kept = await client.list_task_push_notification_configs(listed)
        assert [config.url for config in kept.configs] == [receiver.url]
        async for _ in client.send_message(request("blue", task_id=task.id)):
            pass
        while "task" not in told:
            _, told = await asyncio.wait_for(receiver.told.get(), 10)
        assert told["task"]["status"]["state"] == "TASK_STATE_COMPLETED"  # type: ignore[index]
        headers = {"Authorization": f"Bearer {KEYS['alice']}"}
        async with httpx.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False) as http:
            forgotten = await http.post("/agents/asker/forget", json={"session_id": "kept"})
        assert forgotten.json()["removed"]["push_configs"] == 1
        with pytest.raises(TaskNotFoundError):
            await client.list_task_push_notification_configs(listed)
    await server.close()


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/told", "http://169.254.169.254/", "ftp://example.org/", "http://a:b@127.0.0.1/", ""]
)
async def test_an_address_of_a_private_network_is_refused(connect: Connect, url: str) -> None:
    client = await connect("greeter")
    sent = request("Hi.", returns_at_once=True)
    sent.configuration.task_push_notification_config.url = url
    with pytest.raises(InvalidParamsError):
        await anext(aiter(client.send_message(sent)))
