"""Behind nginx as deploy/nginx-cluster.conf has it: every door comes through, a server that is gone is passed over."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio

from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from tests.fixtures.cluster import Cluster
from tests.fixtures.eventually import eventually
from tests.fixtures.nginx import Nginx, free_port
from tests.fixtures.postgres import Databases
from tests.fixtures.server import ROOT
from tests.fixtures.talk import Talk, good
from tests.fixtures.web_socket import web_socket
from tests.rpc.calls import read

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "One word after another comes through. "
SETTINGS = {
    "server": {"shutdown_grace": "300ms", "grpc_port": 0, "trusted_proxies": ["127.0.0.1"]},
    "embedders": {"default": {"type": "none"}},
    "llms": {"slow": {"type": "scripted", "script": [{"text": TEXT, "delay_ms": 40}]}},
    "agents": {"assistant": {"llm": "slow"}},
}
"""A reader that waits for the whole would see the words at once."""


def sites_of(cluster: Cluster, grpc_port: int) -> str:
    """The file with the addresses of the test."""
    text = (ROOT / "deploy" / "nginx-cluster.conf").read_text(encoding="utf-8")
    for number, server in enumerate(cluster.servers.values(), 1):
        text = text.replace(f"hector-{number}:8080", f"127.0.0.1:{server.port}")
        text = text.replace(f"hector-{number}:50051", server.grpc_address)
    text = re.sub(r"listen 50051", f"listen 127.0.0.1:{grpc_port}", text)
    return re.sub(r"listen 8080", "listen 127.0.0.1:{port}", text)


class Service:
    """The balancer and what is behind it."""

    def __init__(self, cluster: Cluster, nginx: Nginx, grpc_port: int) -> None:
        self.cluster = cluster
        self.base_url = nginx.base_url
        self.grpc_address = f"127.0.0.1:{grpc_port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("proxy")
    async with Cluster(folder, SETTINGS, databases.create()) as cluster:
        for server in cluster.servers.values():
            await server.wait_for_grpc()
        grpc_port = free_port()
        (folder / "nginx").mkdir()
        async with Nginx(folder / "nginx", sites_of(cluster, grpc_port)) as nginx:
            yield Service(cluster, nginx, grpc_port)


async def test_each_door_comes_through_unbuffered(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.base_url, timeout=20) as client:
        talk = await Talk.begin(client)
        async with talk.stream("Hello") as stream:
            times = [time.monotonic() async for frame in stream if frame.type == "text"]
        assert len([1 for earlier, later in pairwise(times) if later - earlier > 0.01]) >= len(times) - 3
        answers = [(await client.post("/agents/assistant/messages", json={"message": "x"})).json() for _ in range(3)]
        assert [answer["response"] for answer in answers] == [TEXT] * 3
    async with web_socket(service.base_url) as socket:
        assert await socket.say("Hello") == TEXT
    async with grpc.aio.insecure_channel(service.grpc_address) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        found = await read(stub.StreamMessage(pb.SendMessageRequest(agent="assistant", message="Hello")))
    assert found.text == TEXT


async def test_a_request_is_the_clients_and_nobody_chooses_an_address(service: Service) -> None:
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.7")
    async with httpx.AsyncClient(base_url=service.base_url, transport=transport) as client:
        forged = {"X-Forwarded-For": "203.0.113.9", "Host": "evil.example"}
        assert (await client.get("/agents", headers=forged)).status_code == 421

    async def is_told() -> bool:
        return any("refused a request from 127.0.0.7" in server.log_text for server in service.cluster.servers.values())

    await eventually(is_told)


async def test_a_server_that_was_killed_is_passed_over_and_taken_back(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30) as client:
        talk = await Talk.begin(client)
        await talk.stream_all("Hello")
        await service.cluster.kill("b")
        for _ in range(9):
            assert good(await client.get(f"/agents/assistant/sessions/{talk.session_id}"))["status"] == "active"
        answers = await asyncio.gather(
            *[client.post("/agents/assistant/messages", json={"message": "x"}) for _ in range(6)]
        )
        assert [answer.status_code for answer in answers] == [200] * 6
        await service.cluster.restart("b")
        turns = "hector_turns_total"

        async def is_back() -> bool:
            await client.post("/agents/assistant/messages", json={"message": "x"})
            return turns + "{" in (await client.get(f"{service.cluster['b'].base_url}/metrics")).text

        await eventually(is_back, within=20)
