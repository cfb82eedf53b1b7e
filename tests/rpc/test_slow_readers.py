"""A reader that does not read holds up nobody, costs no memory, and has the whole text in the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc

from app.rpc.generated import hector_pb2 as pb
from app.rpc.generated.hector_pb2_grpc import A2AServiceStub
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream
from tests.rpc.calls import Read, read

PIECES = [f"{number:05}" + "x" * 9_995 for number in range(500)]
"""5 MB."""


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


async def test_a_reader_that_sleeps_through_five_megabytes(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.answer(tokens=PIECES)
        server = HectorServer(
            tmp_path,
            {
                "server": {"grpc_port": 0},
                "embedders": {"default": {"type": "none"}},
                "llms": {"up": {"type": "openai", "model": "m", "api_key": "k", "host": upstream.base_url}},
                "agents": {"assistant": {"llm": "up"}},
            },
        )
        await server.start()
        try:
            sleepers, quick, grown = await run(await server.wait_for_grpc(), server.pid)
        finally:
            await server.close()

    whole = "".join(PIECES)
    assert quick.text == whole
    assert [sleeper.text == whole for sleeper in sleepers] == [True] * 20
    assert grown < 120_000_000  # a queue for each of them would take 200 MB, beside what the turn takes


async def run(address: str, pid: int) -> tuple[list[Read], Read, int]:
    """Twenty readers read one chunk each and sleep while another reads the whole answer; then they read theirs.

    Twenty others leave instead, in mid-write.
    """
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        await stub.CreateSession(pb.CreateSessionRequest(agent="assistant", session_id="s"))
        follow = pb.FollowSessionRequest(agent="assistant", session_id="s", after=0)
        sleepers = [stub.FollowSession(follow) for _ in range(20)]
        leavers = [stub.FollowSession(follow) for _ in range(20)]
        quick = asyncio.ensure_future(
            read(stub.StreamMessage(pb.SendMessageRequest(agent="assistant", session_id="s", message="Tell all.")))
        )
        first = [Read([await sleeper.read()]) for sleeper in sleepers]
        for leaver in leavers:
            await leaver.read()
        before = resident_bytes(pid)
        answered = await quick
        for leaver in leavers:  # in mid-write
            leaver.cancel()
        grown = resident_bytes(pid) - before
        for found, sleeper in zip(first, sleepers, strict=True):
            while found.chunks[-1].type != "turn_finished":
                found.chunks.append(await sleeper.read())
            sleeper.cancel()
        return first, answered, grown
