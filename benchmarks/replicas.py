"""Replicas: how late another server's readers are, and what they cost, with a tail in Redis and without.

python -m benchmarks.replicas --bench DIR --database-url postgresql://… [--redis-url redis://…] [--sessions 20]

Server `a` runs the turns. Each session has a reader at `a` and one at `b`: the lag of a token is how much later the
second one had it. Then the same turns with readers at `a` alone and at `b` alone: CPU per token of each process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass, field

from benchmarks import rig
from benchmarks.rig import Rig, Server, show

MODEL = "mock-n200-d20-ttft100"
TOKENS = 200


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--redis-url", help="a Redis that nothing else uses; else servers follow the database")
    made.add_argument("--sessions", type=int, default=20, help="turns at a time")
    made.add_argument("--rounds", type=int, default=3)
    return made


@dataclass
class Reader:
    """One reader of one turn: when it had each event, by its number."""

    port: int
    path: str
    came: dict[int, float] = field(default_factory=dict)

    async def run(self, is_there: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            number = 0
            while line := await reader.readline():
                if line.startswith((b"HTTP/", b":")):
                    is_there.set()
                elif line.startswith(b"id: "):
                    number = int(line[4:].partition(b":")[0])
                elif line.startswith(b"data: ") and number not in self.came:
                    self.came[number] = time.monotonic()
                    if b'"turn_finished"' in line:
                        return
        finally:
            writer.close()


class Run:
    def __init__(self, a: Server, b: Server, sessions: int) -> None:
        self._a, self._b = a, b
        self._sessions = sessions
        self._names = 0

    async def turns(self, *, at: tuple[Server, ...]) -> tuple[list[list[Reader]], dict[str, float]]:
        """One turn in each of new sessions, read at each of the servers; CPU seconds of both meanwhile."""
        names = [f"s{self._names + place}" for place in range(self._sessions)]
        self._names += self._sessions
        self._a.make_sessions("paced", names)
        path = "/agents/paced/sessions/{}/messages"
        readers = [[Reader(server.port, f"{path.format(name)}/stream?after=0") for server in at] for name in names]
        before = {name: cpu_seconds(server) for name, server in (("a", self._a), ("b", self._b))}
        there = [asyncio.Event() for several in readers for _ in several]
        reading = [
            asyncio.create_task(reader.run(event))
            for reader, event in zip([one for several in readers for one in several], there, strict=True)
        ]
        await asyncio.gather(*[event.wait() for event in there])
        for name in names:
            body = {"message": "go", "background": True}
            status, _ = await asyncio.to_thread(rig.request, self._a.port, "POST", path.format(name), body)
            assert status == 202, status
        await asyncio.gather(*reading)
        after = {name: cpu_seconds(server) for name, server in (("a", self._a), ("b", self._b))}
        return readers, {name: after[name] - before[name] for name in before}


def cpu_seconds(server: Server) -> float:
    """Finer than the clock ticks of `rig.cpu_seconds`."""
    total = 0
    for task in os.listdir(f"/proc/{server.pid}/task"):
        with open(f"/proc/{server.pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def lags(readers: list[list[Reader]]) -> list[float]:
    """Milliseconds by which each event was later at the second reader."""
    found = []
    for local, foreign in readers:
        assert local.came.keys() == foreign.came.keys(), "a reader lacks events"
        found += [(foreign.came[number] - at) * 1000 for number, at in local.came.items()]
    return found


async def measure(bench: Rig, options: argparse.Namespace) -> dict[str, float]:
    shared = "cluster: {{enabled: true, name: {}}}\n"
    if options.redis_url:
        shared += f"redis: {{{{url: '{options.redis_url}'}}}}\n"
    models = {"paced": MODEL}
    a = bench.serve(models, folder="a", more=shared.format("a"))
    b = bench.serve(models, folder="b", more=shared.format("b"))
    run = Run(a, b, options.sessions)
    await run.turns(at=(a, b))  # warm
    late: list[float] = []
    local, foreign, owner = [], [], []
    tokens = options.sessions * TOKENS
    for _ in range(options.rounds):
        readers, _ = await run.turns(at=(a, b))
        late += lags(readers)
        _, cpu = await run.turns(at=(a,))
        local.append(cpu["a"] / tokens * 1e6)
        _, cpu = await run.turns(at=(b,))
        owner.append(cpu["a"] / tokens * 1e6)
        foreign.append(cpu["b"] / tokens * 1e6)
    return {
        "lag_p50_ms": rig.percentile(late, 50),
        "lag_p99_ms": rig.percentile(late, 99),
        "lag_max_ms": max(late),
        "local_us": rig.median(local),
        "owner_us": rig.median(owner),
        "foreign_us": rig.median(foreign),
        "ratio": rig.median(foreign) / rig.median(local),
    }


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    if not options.database_url:
        raise SystemExit("Several servers need --database-url postgresql://…")
    with Rig(options.bench, database_url=options.database_url) as bench:
        found = asyncio.run(measure(bench, options))
    show(
        [
            ["lag p50 ms", "p99", "max", "µs a token: local", "owner of foreign", "foreign", "foreign / local"],
            [round(value, 2) for value in found.values()],
        ]
    )
    rig.report("replicas", {"tail": bool(options.redis_url), **found}, options.out)


if __name__ == "__main__":
    main()
