"""Beside: what a token costs through a door that is read by a program of ours, as a ratio to server-sent events.

The readers run in a process of their own (`--read`), and check every answer as the load generator does for server-sent
events of the same server in the same minutes. They are slower than that one, so there are fewer streams than in
streams.py, for both doors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, Server, cpu_seconds, free_port, last_json, median, show
from benchmarks.streams import BODY, BURST, PACED

TOKENS = 200
WORDS = "".join([f" t{number}" for number in range(TOKENS)])
_FIGURES = ("tokens_per_cpu_s", "tokens_per_s", "messages_per_token")


@dataclass
class Tally:
    """What the readers of one run have read so far."""

    seconds: float
    begin: float = field(default_factory=time.monotonic)
    turns: int = 0
    messages: int = 0

    @property
    def goes_on(self) -> bool:
        """Whether a reader is to begin another turn."""
        return time.monotonic() - self.begin < self.seconds

    def finished(self, text: str) -> None:
        """A turn was read. Raises SystemExit: the answer is wrong."""
        if text != WORDS:
            raise SystemExit(f"void: a reader read {text[:200]!r}")
        self.turns += 1


Follow = Callable[[str, str, int, Tally], Awaitable[None]]
"""(address, agent, number of the stream, tally) → turns in the session `{agent}-{number}`, one after the other."""


@dataclass(frozen=True)
class Beside:
    """A door: `name` is that of its module, `more` what it adds to the configuration, `has_port` that of gRPC."""

    name: str
    label: str
    follow: Follow
    more: str = ""
    has_port: bool = False

    def main(self, parser: argparse.ArgumentParser, argv: list[str] | None) -> None:
        given = sys.argv[1:] if argv is None else argv
        if given[:1] == ["--read"]:
            address, agent, streams, seconds = given[1:]
            print(json.dumps(asyncio.run(self._read(address, agent, int(streams), float(seconds)))))
            return
        options = parser.parse_args(given)
        figures: dict[str, Any] = {}
        with Rig(options.bench, database_url=options.database_url) as bench:
            port = free_port() if self.has_port else None
            server = bench.serve({"burst": BURST, "paced": PACED}, grpc_port=port, more=self.more)
            address = f"127.0.0.1:{port or server.port}"
            for agent, streams in (("burst", 64), ("paced", 30)):
                figures[agent] = self._measure(bench, server, address, agent, streams, options)
        rig.report(self.name, figures, options.out)

    def _measure(
        self, bench: Rig, server: Server, address: str, agent: str, streams: int, options: argparse.Namespace
    ) -> dict[str, Any]:
        server.make_sessions(agent, [f"{agent}-{n}" for n in range(streams)])
        path = f"/agents/{agent}/sessions/{agent}-{{i}}/messages/stream"
        base = ["-u", path, "-b", BODY, "-c", streams, "-V", TOKENS]
        bench.load(server, *base, "-n", streams * 2)  # warm up: connections, windows, caches
        self._read_beside(server, address, agent, streams, 1.0)
        ours, theirs = [], []
        for _ in range(options.rounds):
            theirs.append(bench.load(server, *base, "-d", options.seconds, "--pid", server.pid))
            ours.append(self._read_beside(server, address, agent, streams, options.seconds))
        ratios = [one["tokens_per_cpu_s"] / sse["tokens_per_cpu_s"] for one, sse in zip(ours, theirs, strict=True)]
        medians = {self.name: _medians(ours), "sse": _medians(theirs)}
        rows: list[list[object]] = [[agent, "tokens/CPU-s", "tokens/s", "messages/token"]]
        show([*rows, [self.label, *medians[self.name].values()], ["SSE", *medians["sse"].values()]])
        print(f"{agent}: ratio {median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})\n")
        return {"ratio": round(median(ratios), 3), "ratios": [round(ratio, 3) for ratio in ratios], **medians}

    def _read_beside(self, server: Server, address: str, agent: str, streams: int, seconds: float) -> dict[str, Any]:
        """A run of readers in their own process, with the processor time that the server took for it."""
        command = [sys.executable, "-m", f"benchmarks.{self.name}", "--read", address, agent, str(streams)]
        before = cpu_seconds(server.pid)
        run = subprocess.run([*command, str(seconds)], stdout=subprocess.PIPE, check=True, cwd=rig.ROOT)
        found = last_json(run.stdout)
        found["tokens_per_cpu_s"] = found["tokens_seen"] / (cpu_seconds(server.pid) - before)
        return found

    async def _read(self, address: str, agent: str, streams: int, seconds: float) -> dict[str, Any]:
        tally = Tally(seconds)
        await asyncio.gather(*[self.follow(address, agent, number, tally) for number in range(streams)])
        tokens = tally.turns * TOKENS
        tokens_per_s = tokens / (time.monotonic() - tally.begin)
        return {"tokens_seen": tokens, "events": tally.messages, "tokens_per_s": tokens_per_s}


def parser_of(about: str | None) -> argparse.ArgumentParser:
    made = rig.parser(about or "")
    made.add_argument("--rounds", type=int, default=5, help="pairs of runs, interleaved")
    made.add_argument("--seconds", type=float, default=5, help="length of one run")
    return made


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    found = [
        [run["tokens_per_cpu_s"] for run in runs],
        [run["tokens_per_s"] for run in runs],
        [run["events"] / run["tokens_seen"] for run in runs],
    ]
    return dict(zip(_FIGURES, map(median, found), strict=True))
