"""Choices: what is saved by each place where the busiest address leaves the beaten track.

    python -m benchmarks.choices --bench DIR [--rounds 5] [--seconds 5] [--only stock]

Two servers that differ in one thing (benchmarks/variant.py) run in turns, 200 tokens an answer: bursts on 64
sessions, or, where the thing is done for each token, one token each 10 ms on 100.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, Server, median, show
from benchmarks.streams import BODY, BURST, PACED, per_cpu

TOKENS = 200
NAMES = {
    "stock": "sse-starlette's response instead of ours",
    "woken": "a task woken for each token",
    "layered": "body frames through the middleware",
    "route": "FastAPI routes instead of ASGI endpoints",
    "gc": "the garbage collector as Python sets it up",
}

PER_TOKEN = ("woken", "layered")
"""Measured in paced streams."""


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=5, help="pairs of runs, interleaved")
    made.add_argument("--seconds", type=float, default=5, help="length of one run")
    made.add_argument("--only", choices=sorted(NAMES), help="one of them")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    figures: dict[str, Any] = {}
    rows: list[list[object]] = [["the other way", "tokens/CPU-s", "as it is", "ratio", "us saved a turn"]]
    for name, words in NAMES.items():
        if options.only in (None, name):
            with Rig(options.bench) as bench:
                model, connections = (PACED, 100) if name in PER_TOKEN else (BURST, 64)
                ours = bench.serve({"a": model}, folder="ours")
                other = bench.serve({"a": model}, folder="other", command=("benchmarks.variant", name))
                pairs = compare(bench, ours, other, options, connections=connections)
            ratio = median([a / b for a, b in pairs])
            saved = median([TOKENS * (1e6 / b - 1e6 / a) for a, b in pairs])
            rows.append([words, median([b for _, b in pairs]), median([a for a, _ in pairs]), ratio, saved])
            figures[name] = {"ratio": round(ratio, 3), "saved_us_per_turn": round(saved)}
    show(rows)
    rig.report("choices", figures, options.out)


def compare(
    bench: Rig, ours: Server, other: Server, options: argparse.Namespace, *, connections: int
) -> list[tuple[float, float]]:
    """(ours, other) of each round, in tokens per CPU-second."""
    load = ["-u", "/agents/a/sessions/s{i}/messages/stream", "-b", BODY, "-c", connections, "-V", TOKENS]
    for server in (ours, other):
        server.make_sessions("a", [f"s{n}" for n in range(connections)])
        bench.load(server, *load, "-n", 256)
    pairs = []
    for _ in range(options.rounds):
        runs = [bench.load(server, *load, "-d", options.seconds, "--pid", server.pid) for server in (ours, other)]
        pairs.append((per_cpu(runs[0]), per_cpu(runs[1])))
    return pairs


if __name__ == "__main__":
    main()
