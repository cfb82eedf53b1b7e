"""RPC: what a token costs over gRPC, as a ratio to server-sent events of the same server in the same minutes.

    python -m benchmarks.rpc --bench DIR [--rounds 5] [--seconds 5]

The readers of gRPC are this program in a process of its own (`--read`), which checks every answer as the load generator
does for SSE. It is slower than that one, so there are fewer streams than in streams.py, for both doors.
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
from benchmarks.rig import Rig, Server, cpu_seconds, free_port, last_json, median, show
from benchmarks.streams import BODY, BURST, PACED

TOKENS = 200
WORDS = "".join([f" t{number}" for number in range(TOKENS)])


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=5, help="pairs of runs, interleaved")
    made.add_argument("--seconds", type=float, default=5, help="length of one run")
    return made


def main(argv: list[str] | None = None) -> None:
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["--read"]:
        address, agent, streams, seconds = given[1:]
        print(json.dumps(asyncio.run(read_streams(address, agent, int(streams), float(seconds)))))
        return
    options = parser().parse_args(given)
    figures: dict[str, Any] = {}
    with Rig(options.bench, database_url=options.database_url) as bench:
        port = free_port()
        server = bench.serve({"burst": BURST, "paced": PACED}, grpc_port=port)
        for name, streams in (("burst", 64), ("paced", 30)):
            figures[name] = measure(bench, server, f"127.0.0.1:{port}", name, streams, options)
    rig.report("rpc", figures, options.out)


def measure(
    bench: Rig, server: Server, address: str, name: str, streams: int, options: argparse.Namespace
) -> dict[str, Any]:
    server.make_sessions(name, [f"{name}-{n}" for n in range(streams)])
    path = f"/agents/{name}/sessions/{name}-{{i}}/messages/stream"
    base = ["-u", path, "-b", BODY, "-c", streams, "-V", TOKENS]
    bench.load(server, *base, "-n", streams * 2)  # warm up: connections, windows, caches
    read_beside(server, address, name, streams, 1.0)
    rounds = []
    for _ in range(options.rounds):
        by_sse = bench.load(server, *base, "-d", options.seconds, "--pid", server.pid)
        rounds.append((read_beside(server, address, name, streams, options.seconds), by_sse))
    ratios = [by_rpc["tokens_per_cpu_s"] / by_sse["tokens_per_cpu_s"] for by_rpc, by_sse in rounds]
    rows: list[list[object]] = [[name, "tokens/CPU-s", "tokens/s", "messages/token"]]
    for label, place in (("gRPC", 0), ("SSE", 1)):
        runs = [pair[place] for pair in rounds]
        rows.append(
            [
                label,
                median([run["tokens_per_cpu_s"] for run in runs]),
                median([run["tokens_per_s"] for run in runs]),
                median([run["events"] / run["tokens_seen"] for run in runs]),
            ]
        )
    show(rows)
    print(f"{name}: ratio {median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})\n")
    return {
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "grpc": dict(zip(("tokens_per_cpu_s", "tokens_per_s", "messages_per_token"), rows[1][1:], strict=True)),
        "sse": dict(zip(("tokens_per_cpu_s", "tokens_per_s", "messages_per_token"), rows[2][1:], strict=True)),
    }


def read_beside(server: Server, address: str, agent: str, streams: int, seconds: float) -> dict[str, Any]:
    """A run of readers in their own process, with the processor time that the server took for it."""
    command = [sys.executable, "-m", "benchmarks.rpc", "--read", address, agent, str(streams), str(seconds)]
    before = cpu_seconds(server.pid)
    found = last_json(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=rig.ROOT).stdout)
    found["tokens_per_cpu_s"] = found["tokens_seen"] / (cpu_seconds(server.pid) - before)
    return found


async def read_streams(address: str, agent: str, streams: int, seconds: float) -> dict[str, Any]:
    """Turns on every stream, one right after the other, until the time is up. Raises SystemExit: a wrong answer."""
    import grpc

    from app.rpc.generated import hector_pb2 as pb
    from app.rpc.generated.hector_pb2_grpc import A2AServiceStub

    begin = time.monotonic()
    turns = messages = 0

    async def follow(stub: Any, number: int) -> None:
        nonlocal turns, messages
        while time.monotonic() - begin < seconds:
            text = ""
            request = pb.SendMessageRequest(agent=agent, session_id=f"{agent}-{number}", message="go")
            async for chunk in stub.StreamMessage(request):
                messages += 1
                text += chunk.content
            if text != WORDS:
                raise SystemExit(f"void: a stream read {text[:200]!r}")
            turns += 1

    async with grpc.aio.insecure_channel(address) as channel:
        stub = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        await asyncio.gather(*[follow(stub, number) for number in range(streams)])
    elapsed = time.monotonic() - begin
    tokens = turns * TOKENS
    return {"tokens_seen": tokens, "events": messages, "tokens_per_s": tokens / elapsed}


if __name__ == "__main__":
    main()
