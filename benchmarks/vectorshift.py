"""VectorShift: what a token costs through that door, as a ratio to server-sent events of the same server and minutes.

    python -m benchmarks.vectorshift --bench DIR [--rounds 5] [--seconds 5]

The readers are this program in a process of its own (`--read`): each has a socket and a session, sends one message
after the other, and checks that the deltas of an answer add up to all its tokens and to the text of its last frame.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, Server, cpu_seconds, last_json, median, show
from benchmarks.rpc import TOKENS, WORDS
from benchmarks.streams import BODY, BURST, PACED

OPEN = "compat: {vectorshift: {enabled: true}}\n"


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=5, help="pairs of runs, interleaved")
    made.add_argument("--seconds", type=float, default=5, help="length of one run")
    return made


def main(argv: list[str] | None = None) -> None:
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["--read"]:
        port, agent, streams, seconds = given[1:]
        print(json.dumps(asyncio.run(read_streams(int(port), agent, int(streams), float(seconds)))))
        return
    options = parser().parse_args(given)
    figures: dict[str, Any] = {}
    rows: list[list[object]] = [["load", "tokens/CPU-s", "of SSE", "ratio", "from", "to", "frames/token"]]
    with Rig(options.bench, database_url=options.database_url) as bench:
        server = bench.serve({"burst": BURST, "paced": PACED}, more=OPEN)
        for name, streams in (("burst", 64), ("paced", 30)):
            pairs = measure(bench, server, name, streams, options)
            costs = [[run["tokens_per_cpu_s"] for run in runs] for runs in zip(*pairs, strict=True)]
            ratios = [ours / theirs for ours, theirs in zip(*costs, strict=True)]
            frames = median([ours["frames"] / ours["tokens_seen"] for ours, _ in pairs])
            rows.append([name, *map(median, costs), median(ratios), min(ratios), max(ratios), frames])
            figures[name] = {"ratio": round(median(ratios), 3), "tokens_per_cpu_s": median(costs[0])}
        show(rows)
    rig.report("vectorshift", figures, options.out)


def measure(
    bench: Rig, server: Server, name: str, streams: int, options: argparse.Namespace
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of runs: this door's, and that of server-sent events."""
    server.make_sessions(name, [f"{name}-{n}" for n in range(streams)])
    path = f"/agents/{name}/sessions/{name}-{{i}}/messages/stream"
    base = ["-u", path, "-b", BODY, "-c", streams, "-V", TOKENS]
    bench.load(server, *base, "-n", streams * 2)  # warm up: connections, windows, caches
    read_beside(server, name, streams, 1.0)
    return [
        (
            read_beside(server, name, streams, options.seconds),
            bench.load(server, *base, "-d", options.seconds, "--pid", server.pid),
        )
        for _ in range(options.rounds)
    ]


def read_beside(server: Server, agent: str, streams: int, seconds: float) -> dict[str, Any]:
    """A run of readers in their own process, with the processor time that the server took for it."""
    command = [sys.executable, "-m", "benchmarks.vectorshift", "--read", str(server.port), agent, str(streams)]
    before = cpu_seconds(server.pid)
    run = subprocess.run([*command, str(seconds)], stdout=subprocess.PIPE, check=True, cwd=rig.ROOT)
    found = last_json(run.stdout)
    found["tokens_per_cpu_s"] = found["tokens_seen"] / (cpu_seconds(server.pid) - before)
    return found


async def read_streams(port: int, agent: str, streams: int, seconds: float) -> dict[str, Any]:
    """Turns on every socket, one right after the other, until the time is up. Raises SystemExit: a wrong answer."""
    from websockets.asyncio.client import connect

    begin = time.monotonic()
    turns = frames = 0

    async def follow(number: int) -> None:
        nonlocal turns, frames
        session_id = f"{agent}-{number}"
        async with connect(f"ws://127.0.0.1:{port}/v1/ws/session", compression=None) as socket:
            await socket.send(json.dumps({"type": "connect_session", "session_id": session_id}))
            while time.monotonic() - begin < seconds:
                await socket.send(json.dumps({"type": "post_message", "session_id": session_id, "content": "go"}))
                text, whole = "", None
                while whole is None:
                    frame = json.loads(await socket.recv())
                    frames += 1
                    if frame["type"] == "message_delta":
                        text += frame["value"]
                    elif frame["type"] == "message_notification":
                        whole = frame["message"]["content"]["value"]
                if not text == whole == WORDS:
                    raise SystemExit(f"void: a socket read {text[:200]!r}, and as a whole {whole[:200]!r}")
                turns += 1

    await asyncio.gather(*[follow(number) for number in range(streams)])
    tokens = turns * TOKENS
    return {"tokens_seen": tokens, "frames": frames, "tokens_per_s": tokens / (time.monotonic() - begin)}


if __name__ == "__main__":
    main()
