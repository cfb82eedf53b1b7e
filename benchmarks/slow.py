"""Slow: what readers that take 300 bytes a second, or nothing, cost a turn of 5 MB, its other reader and the server.

    python -m benchmarks.slow --bench DIR [--rounds 9] [--readers 1] [--pace 1000] [--only grpc]

For each door, in turns: a turn without them, and one that so many of them follow, every second one deaf. A reader that
keeps up, by server-sent events, follows both; so do probes of another session afterwards, while the slow readers still
hold. Each slow reader then reads on as fast as it can, and its text must be whole.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, Server, cpu_seconds, free_port, median, request, show
from benchmarks.slow_clients import BEGIN, DOORS, Followed, SlowClient

DELTAS = [f"{number:06d}" + "x" * 1018 for number in range(5000)]
WHOLE = "".join(DELTAS)
AT_ONCE = 16
"""Deltas that the model writes together."""
PROBES = 5
OPEN = """
compat:
  vectorshift: {enabled: true}
  a2a: {enabled: true}
  agui: {enabled: true}
  ai_sdk: {enabled: true}
  mcp: {enabled: true}
"""


class Model:
    """A provider whose answer is `DELTAS`, once it is released: at its `pace` (deltas a second), or at once."""

    def __init__(self, pace: float) -> None:
        self.released = threading.Event()
        self._pace = pace
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        pieces = [_event({"content": text}) for text in DELTAS]
        joined = [b"".join(pieces[place : place + AT_ONCE]) for place in range(0, len(pieces), AT_ONCE)]
        self._pieces = [*joined, _event({}, "stop") + b"data: [DONE]\n\n"]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if b"Host" not in connection.recv(1 << 16):
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            self.released.wait()
            begin = time.monotonic()
            for number, piece in enumerate(self._pieces):
                if self._pace and (early := begin + number * AT_ONCE / self._pace - time.monotonic()) > 0:
                    time.sleep(early)
                connection.sendall(piece)


def _event(delta: dict[str, str], reason: str | None = None) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: %b\n\n" % json.dumps({**chunk, "choices": [choice]}).encode()


@dataclass
class Run:
    """One turn. Milliseconds, of the turn, its reader and a probe; seconds of the server's processor; megabytes."""

    turn: float
    reader: float
    probe: float
    cpu: float
    resident: float


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=9, help="pairs of turns, interleaved")
    made.add_argument("--readers", type=int, default=1, help="slow readers of a turn")
    made.add_argument("--pace", type=float, default=1000, help="KB that the model says a second; 0: at once")
    made.add_argument("--only", choices=sorted(DOORS), action="append", help="this door; more than once for several")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    figures: dict[str, Any] = {}
    rows: list[list[object]] = [["door", "turn", "reader", "probe", "CPU", "MB/reader", "KB taken"]]
    model = Model(options.pace)
    with Rig(options.bench, database_url=options.database_url) as bench:
        port = free_port()
        models = {"large": "large", "probe": "mock-n20000-d0-ttft0"}
        server = bench.serve(models, grpc_port=port, more=OPEN, providers={"large": model.port})
        measuring = Measuring(server, f"127.0.0.1:{port}", model)
        for name in options.only or DOORS:
            pairs = asyncio.run(measuring.pairs(name, options.readers, options.rounds))
            ratios = {
                field: [getattr(slow, field) / getattr(alone, field) for alone, slow in pairs]
                for field in ("turn", "reader", "probe", "cpu")
            }
            grown = [(slow.resident - alone.resident) / options.readers for alone, slow in pairs]
            rows.append([name, *[median(found) for found in ratios.values()], median(grown), measuring.taken])
            figures[name] = {field: [round(one, 3) for one in found] for field, found in ratios.items()}
            figures[name] |= {"mb_per_reader": [round(one, 2) for one in grown]}
            print(name, figures[name], [(round(a.turn), round(b.turn)) for a, b in pairs], flush=True)
        show(rows)
    rig.report("slow", figures, options.out)


class Measuring:
    """Turns on one server."""

    def __init__(self, server: Server, grpc_address: str, model: Model) -> None:
        self._server = server
        self._grpc_address = grpc_address
        self._model = model
        self._count = 0
        self.taken = 0.0
        """Thousands of bytes that a slow reader had taken by the end of its last turn, on average."""

    async def pairs(self, door: str, readers: int, rounds: int) -> list[tuple[Run, Run]]:
        await self.run(door, 0)
        await self.run(door, readers)  # warm up: what is loaded with the first request, and memory
        return [(await self.run(door, 0), await self.run(door, readers)) for _ in range(rounds)]

    async def run(self, door: str, readers: int) -> Run:
        server = self._server
        self._count += 1
        session_id, hurry = f"slow-{self._count}", asyncio.Event()
        self._model.released.clear()
        await asyncio.to_thread(server.make_sessions, "large", [session_id])
        followed = Followed(server.port, self._grpc_address, "large", session_id, "")
        clients: list[SlowClient] = []
        if readers and door in BEGIN:
            clients.append(DOORS[door](followed))
            await clients[0].open()
        turn_id = await self._turn(session_id, begin=not clients)
        followed = Followed(server.port, self._grpc_address, "large", session_id, turn_id)
        while len(clients) < readers:
            clients.append(DOORS[door](followed))
            await clients[-1].open()
        reading = [asyncio.ensure_future(one.read(hurry, is_deaf=place % 2 == 1)) for place, one in enumerate(clients)]
        following = asyncio.Event()
        reader = asyncio.ensure_future(self._keep_up(session_id, following))
        await following.wait()
        before = cpu_seconds(server.pid)
        self._model.released.set()
        milliseconds = await reader
        cpu = cpu_seconds(server.pid) - before
        turn = await self._get(f"/agents/large/sessions/{session_id}/turns/{turn_id}")
        probe = await asyncio.to_thread(self._probe)
        resident = server.resident_mb()
        if clients:
            self.taken = sum([one.received for one in clients]) / len(clients) / 1000
        hurry.set()
        await asyncio.gather(*reading)
        for one in clients:
            if (text := one.text()) != WHOLE:
                raise SystemExit(f"void: {door} read {len(text)} characters of {len(WHOLE)}")
            one.close()
            await asyncio.to_thread(request, server.port, "DELETE", f"/agents/large/sessions/{session_id}")
        timings = turn["timings"]
        return Run(timings["total_ms"] - timings["first_token_ms"], milliseconds, probe, cpu, resident)

    async def _turn(self, session_id: str, *, begin: bool) -> str:
        path = f"/agents/large/sessions/{session_id}"
        if begin:
            body = {"message": "go", "background": True}
            _, answer = await asyncio.to_thread(request, self._server.port, "POST", f"{path}/messages", body)
            return str(json.loads(answer)["turn_id"])
        return str((await self._get(path))["turn"]["turn_id"])

    async def _get(self, path: str) -> Any:
        return json.loads((await asyncio.to_thread(request, self._server.port, "GET", path))[1])

    async def _keep_up(self, session_id: str, following: asyncio.Event) -> float:
        """Follow the turn; milliseconds from its model's release to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port, limit=1 << 20)
        path = f"/agents/large/sessions/{session_id}/messages/stream?until=turn_end"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        tail = await reader.readuntil(b'"turn_started"')
        begin = time.monotonic()
        following.set()
        while b'"turn_finished"' not in tail and (piece := await reader.read(1 << 20)):
            tail = tail[-1000:] + piece
        writer.close()
        return (time.monotonic() - begin) * 1000

    def _probe(self) -> float:
        """Milliseconds of a turn of another session, the median of some."""
        found = []
        for _ in range(PROBES):
            begin = time.monotonic()
            request(self._server.port, "POST", "/agents/probe/messages/stream", {"message": "go"})
            found.append((time.monotonic() - begin) * 1000)
        return median(found)


if __name__ == "__main__":
    main()
