"""Response: what the loop of `EventStream` saves against sse-starlette's own, with the same bytes.

    python -m benchmarks.response --bench DIR [--rounds 5] [--seconds 5]

Two servers that differ in nothing else run in turns; bursts of 200 tokens on 64 sessions, and 100 paced streams.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, median, show
from benchmarks.streams import BODY, BURST, PACED, per_cpu

TOKENS = 200


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=5, help="pairs of runs, interleaved")
    made.add_argument("--seconds", type=float, default=5, help="length of one run")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    figures: dict[str, Any] = {}
    with Rig(options.bench) as bench:
        models = {"burst": BURST, "paced": PACED}
        servers = {
            "own loop": bench.serve(models, folder="own"),
            "stock": bench.serve(models, folder="stock", module="benchmarks.stock_response"),
        }
        for name, connections, ramp in (("burst", 64, 0), ("paced", 100, 50)):
            load = ["-u", f"/agents/{name}/sessions/{name}-{{i}}/messages/stream", "-b", BODY]
            load += ["-c", connections, "-V", TOKENS, *(["-r", ramp] if ramp else [])]
            runs: dict[str, list[float]] = {label: [] for label in servers}
            for server in servers.values():
                server.make_sessions(name, [f"{name}-{n}" for n in range(connections)])
                bench.load(server, *load, "-n", connections * 2)
            for _ in range(options.rounds):
                for label, server in servers.items():
                    run = bench.load(server, *load, "-d", options.seconds, "--pid", server.pid)
                    runs[label].append(per_cpu(run))
            figures[name] = compare(name, runs["own loop"], runs["stock"])
    rig.report("response", figures, options.out)


def compare(name: str, own: list[float], stock: list[float]) -> dict[str, Any]:
    ratio = median([a / b for a, b in zip(own, stock, strict=True)])
    saved = median([TOKENS * (1e6 / b - 1e6 / a) for a, b in zip(own, stock, strict=True)])
    show(
        [
            [name, "tokens/CPU-s", "us a turn"],
            ["own loop", median(own), TOKENS * 1e6 / median(own)],
            ["stock", median(stock), TOKENS * 1e6 / median(stock)],
        ]
    )
    print(f"{name}: ratio {ratio:.2f}, {saved:.0f} us of CPU saved on a turn of {TOKENS} tokens\n")
    return {"ratio": round(ratio, 3), "saved_us_per_turn": round(saved), "own": median(own), "stock": median(stock)}


if __name__ == "__main__":
    main()
