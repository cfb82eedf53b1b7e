"""The gRPC port: when it opens, what keeps it from opening, and how it closes."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from app.observability.tasks import Tasks
from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from app.rpc.guard import uncut
from tests.fixtures.server import ROOT, HectorServer
from tests.rpc.calls import Read, read

Code = grpc.StatusCode
LONG = "word " * 40


def settings(**server: Any) -> dict[str, Any]:
    return {
        "server": {"shutdown_grace": "0s", **server},
        "embedders": {"default": {"type": "none"}},
        "llms": {"hang": {"type": "scripted", "script": [{"text": LONG, "delay_ms": 15, "hang": True}]}},
        "agents": {"assistant": {"llm": "hang"}},
    }


def stub_of(channel: grpc.aio.Channel) -> Any:
    return A2AServiceStub(channel)  # type: ignore[no-untyped-call]


async def text_of(call: Any, found: Read, characters: int) -> Read:
    """Read on until there is so much text."""
    while len(found.text) < characters:
        found.chunks.append(await anext(aiter(call)))
    return found


async def stored_answer(server: HectorServer) -> str:
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
        found = (await client.get("/agents/assistant/sessions/s/messages")).json()["messages"]
    assert [message["role"] for message in found] == ["user", "assistant"]
    return str(found[1]["content"])


async def test_a_taken_port_costs_one_line_and_http_works(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = HectorServer(tmp_path, settings(grpc_port=port))
        await server.start()
        try:
            line = await server.wait_for_log("no gRPC")
            async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
                assert (await client.get("/ready")).status_code == 200
        finally:
            await server.close()

    assert "WARNING" in line
    assert f"port {port}: address already in use; choose another server.grpc_port" in line


async def test_without_the_extra_the_server_says_so_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "grpc.py").write_text("raise ModuleNotFoundError(\"No module named 'grpc'\", name='grpc')")
    server = HectorServer(tmp_path, settings(grpc_port=0), environment={"PYTHONPATH": f"{tmp_path / 'hidden'}:{ROOT}"})
    await server.start()
    try:
        line = await server.wait_for_log("no gRPC")
    finally:
        await server.close()

    assert line.endswith("no gRPC: grpc is not installed; pip install 'hector[grpc]' adds it")
    assert len([line for line in server.log if "gRPC" in line]) == 1


async def test_after_a_kill_a_reader_goes_on_and_a_stop_sends_it_away(tmp_path: Path) -> None:
    server = HectorServer(tmp_path, settings(grpc_port=0))
    await server.start()
    request = pb.SendMessageRequest(agent="assistant", session_id="s", message="Go on.")
    try:
        async with grpc.aio.insecure_channel(await server.wait_for_grpc()) as channel:
            await stub_of(channel).CreateSession(pb.CreateSessionRequest(agent="assistant", session_id="s"))
            call = stub_of(channel).StreamMessage(request)
            found = await text_of(call, Read(), len(LONG))
            await server.kill()
            cut = await read(call)
        await server.start()
        async with grpc.aio.insecure_channel(await server.wait_for_grpc()) as channel:
            stub = stub_of(channel)
            rest = await read(
                stub.FollowSession(
                    pb.FollowSessionRequest(
                        agent="assistant", session_id="s", after=found.chunks[-1].seq, until_turn_end=True
                    )
                )
            )
            stored = await stored_answer(server)
            call = stub.StreamMessage(request)
            await text_of(call, Read(), len(LONG))
            server.ask_to_stop()
            stopped = await read(call)
        assert await server.ended() == 0
    finally:
        await server.close()

    assert cut.code is Code.UNAVAILABLE
    found.chunks += rest.chunks
    # What was sent in the last 250 ms may be taken back; the reader shows what is stored.
    assert found.text == stored
    assert LONG.startswith(stored)
    assert len(stored) > len(LONG) / 4
    assert (rest.chunks[-1].turn_finished.status, rest.code) == ("interrupted", Code.OK)
    assert (stopped.chunks[-1].type, stopped.chunks[-1].reconnect.after > 0) == ("reconnect", True)
    assert (stopped.code, stopped.reason) == (Code.UNAVAILABLE, "shutting_down")


async def test_health_needs_no_key_and_reflection_one_from_elsewhere(tmp_path: Path) -> None:
    server = HectorServer(tmp_path, {**settings(grpc_port=0), "auth": {"keys": {"alice": "key-of-alice-0123"}}})
    await server.start()
    try:
        async with grpc.aio.insecure_channel(await server.wait_for_grpc()) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watching = health.Watch(health_pb2.HealthCheckRequest(service="hector.v1.A2AService"))
            first = await watching.read()
            found = await health.Check(health_pb2.HealthCheckRequest())
            server.ask_to_stop()
            last = await watching.read()
    finally:
        if server.is_alive:
            await server.ended()

    serving = health_pb2.HealthCheckResponse.ServingStatus
    assert (first.status, found.status, last.status) == (serving.SERVING, serving.SERVING, serving.NOT_SERVING)


def test_nothing_of_grpc_is_loaded_before_the_server_is_ready() -> None:
    code = "import sys, app.cli.serve; sys.exit(any(name in sys.modules for name in ('grpc', 'google.protobuf')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


async def test_what_was_begun_is_carried_out_though_its_caller_leaves() -> None:
    calls, done, may_go_on = Tasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_go_on.wait()
        done.set()

    caller = asyncio.ensure_future(uncut(calls, work()))
    await asyncio.sleep(0)
    caller.cancel()
    may_go_on.set()

    await done.wait()
    assert caller.cancelled() or caller.cancelling()
