"""Rates and quotas at every door: 429 with the time to come again, and nothing that is refused costs a model call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.web_socket import web_socket
from tests.rpc.calls import refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
AGENT, HANGING = "/agents/assistant", "/agents/hanging"
LIMITED = (429, "rate_limited")
NAMES = ("rate", "turns", "streams", "tokens", "sessions", "socket", "shift", "rpc", "openai", "a2a")
SETTINGS: dict[str, Any] = {
    "server": {"grpc_port": 0, "shutdown_grace": "300ms"},
    "embedders": {"default": {"type": "none"}},
    "auth": {"keys": {name: f"key-of-{name}-000000" for name in NAMES}},
    "limits": {
        "principal": {"sessions": 3},
        "user": {"requests_per_second": 0.05, "burst": 12, "turns": 2, "streams": 2, "tokens_per_day": 40},
    },
    "llms": {
        "demo": {"type": "scripted", "script": ["Noted."]},
        "hang": {"type": "scripted", "script": [{"text": "So ", "hang": True}]},
    },
    "agents": {"assistant": {"llm": "demo"}, "hanging": {"llm": "hang"}},
    "compat": {"vectorshift": {"enabled": True, "prefix": "/vs/v1"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    started = HectorServer(Path(tmp_path_factory.mktemp("limits")), SETTINGS)
    await started.start()
    await started.wait_for_grpc()
    yield started
    await started.close()


def bearer(name: str, user: str = "ann") -> dict[str, str]:
    return {"Authorization": f"Bearer key-of-{name}-000000", "X-User-Id": user}


def client(server: HectorServer, name: str, user: str = "ann") -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.base_url, headers=bearer(name, user), timeout=15, trust_env=False)


async def exhaust(http: httpx.AsyncClient) -> httpx.Response:
    """Ask until it is refused."""
    for _ in range(20):
        answer = await http.get("/agents")
        if answer.status_code == 429:
            return answer
    raise AssertionError("never refused")


async def test_a_burst_passes_and_what_is_more_is_told_when_to_come_again(server: HectorServer) -> None:
    async with client(server, "rate") as http:
        first = await http.get("/agents")
        assert first.headers["ratelimit-policy"] == '"user-requests";q=12;w=240'
        assert first.headers["ratelimit"] == '"user-requests";r=11;t=20'
        refused = await exhaust(http)
        assert reason(refused) == LIMITED
        assert 0 < int(refused.headers["retry-after"]) <= 20
        assert refused.headers["ratelimit"].startswith('"user-requests";r=0;t=')
        assert refused.json()["error"]["details"]["limit"] == "user.requests_per_second"
        assert reason(await http.post(f"{AGENT}/messages/stream", json={"message": "Hi"})) == LIMITED
        async with client(server, "rate", "ben") as ben:
            good(await ben.get("/agents"))
        good(await http.get("/health"))


async def test_turns_that_are_open_at_once(server: HectorServer) -> None:
    async with client(server, "turns") as http:
        started = [good(await http.post(f"{HANGING}/sessions", json={})) for _ in range(2)]
        talks = [Talk(http, made["session_id"], agent="hanging") for made in started]
        for talk in talks:
            await talk.start("Go on")
        refused = await http.post(f"{AGENT}/messages", json={"message": "Hi"})
        assert reason(refused) == LIMITED
        assert refused.headers["ratelimit-policy"] == '"user-turns";q=2'
        good(await http.post(f"{talks[0].path}/cancel"))

        async def is_free() -> bool:
            return (await http.post(f"{AGENT}/messages", json={"message": "Hi"})).status_code == 200

        await eventually(is_free, every=1.0)  # each question is one of the twelve requests
        good(await http.post(f"{talks[1].path}/cancel"))


async def test_streams_that_are_read_at_once(server: HectorServer) -> None:
    async with client(server, "streams") as http:
        talk = await Talk.begin(http)
        async with talk.follow(), talk.follow():
            refused = await http.get(f"{talk.path}/messages/stream")
            assert reason(refused) == LIMITED
            assert refused.json()["error"]["details"]["limit"] == "user.streams"
            assert reason(await http.post(f"{talk.path}/messages", json={"message": "Hi"})) == LIMITED
            assert good(await http.get(f"{talk.path}/messages"))["messages"] == []

        async def is_free() -> bool:
            async with http.stream("GET", f"{talk.path}/messages/stream") as stream:
                return stream.status_code == 200

        await eventually(is_free, every=1.0)


async def test_tokens_of_a_day(server: HectorServer) -> None:
    async with client(server, "tokens") as http:
        for _ in range(10):
            answer = await http.post(f"{AGENT}/messages", json={"message": "one two three four five six seven eight"})
            if answer.status_code == 429:
                break
            await asyncio.sleep(1.0)  # sums of the ledger count for a second
        assert reason(answer) == LIMITED
        assert answer.json()["error"]["details"]["limit"] == "user.tokens_per_day"
        assert answer.headers["ratelimit-policy"] == '"user-tokens";q=40;w=86400'
        assert 0 < int(answer.headers["retry-after"]) <= 86_400
        good(await http.get(f"{AGENT}/sessions"))


async def test_sessions_of_a_principal(server: HectorServer) -> None:
    async with client(server, "sessions") as ann, client(server, "sessions", "ben") as ben:
        answers = await asyncio.gather(
            *[http.post(f"{AGENT}/sessions", json={}) for http in (ann, ben) for _ in range(3)]
        )
        assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 429, 429, 429]
        made = next(answer.json() for answer in answers if answer.status_code == 201)
        async with client(server, "sessions", made["user_id"]) as owner:
            good(await owner.delete(f"{AGENT}/sessions/{made['session_id']}"))
            good(await owner.post(f"{AGENT}/sessions", json={}))


async def test_frames_of_a_socket_count_as_requests(server: HectorServer) -> None:
    async with web_socket(server.base_url, headers=bearer("socket")) as socket:
        answers = [await socket.ask("ping") for _ in range(14)]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert len(refused) == 3  # the handshake was one of the twelve
        assert refused[0]["error"]["reason"] == "rate_limited"
        assert refused[0]["error"]["details"]["retry_after_seconds"] > 0
    async with connect(
        server.base_url.replace("http://", "ws://") + "/vs/v1/ws/session",
        additional_headers=bearer("shift"),
        proxy=None,
    ) as shift:
        for _ in range(14):
            await shift.send(orjson.dumps({"type": "ping_session", "session_id": "s"}).decode())
        told = [str(await shift.recv()) for _ in range(14)]
        assert len([one for one in told if "limits.user.requests_per_second" in one]) == 3


async def test_calls_of_grpc_count_as_requests(server: HectorServer) -> None:
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        metadata = (("authorization", "Bearer key-of-rpc-000000"),)
        listing = pb.ListSessionsRequest(agent="assistant")
        for _ in range(12):
            await stub.ListSessions(listing, metadata=metadata)
        call = stub.ListSessions(listing, metadata=metadata)
        assert await refusal(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited")
        trailing = dict(await call.trailing_metadata())
        assert int(trailing["retry-after"]) > 0
        assert trailing["ratelimit"].startswith('"user-requests";r=0')


async def test_the_doors_of_others_tell_it_in_their_own_words(server: HectorServer) -> None:
    async with client(server, "openai") as http:
        await exhaust(http)
        refused = await http.post("/v1/chat/completions", json={"model": "assistant", "messages": []})
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) > 0
        assert "ratelimit" in refused.headers
    async with client(server, "a2a") as http:
        await exhaust(http)
        for path in (f"{AGENT}/a2a", f"{AGENT}/agui", f"{AGENT}/ui", "/mcp"):
            assert (await http.post(path, json={})).status_code == 429, path
