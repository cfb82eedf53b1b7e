"""Streams: what a token costs on its way through, as a ratio to the least Python that relays one.

    python -m benchmarks.streams --bench DIR [--rounds 5] [--seconds 5] [--total 10000] [--database-url URL]

Machines drift by a third within minutes, so server and reference run in turns, and the ratio of each
pair counts. Every stream is verified: all tokens, once, in order, and the closing mark.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, Server, median, show

BURST = "mock-n200-d0-ttft0"
PACED = "mock-n200-d10-ttft50"
TTFT_MS = 50
BODY = '{"message": "go"}'


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=5, help="pairs of runs, interleaved")
    made.add_argument("--seconds", type=float, default=5, help="length of one run")
    made.add_argument("--only", choices=["burst", "paced"], help="one of the two")
    made.add_argument("--total", type=int, default=0, help="then so many verified streams in one go")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    figures: dict[str, Any] = {}
    with Rig(options.bench, database_url=options.database_url) as bench:
        hector = bench.serve({"burst": BURST, "paced": PACED})
        relay = bench.relay()
        for name, model, connections, ramp in (("burst", BURST, 64, 0), ("paced", PACED, 100, 50)):
            if options.only in (None, name):
                figures[name] = measure(bench, hector, relay, name, model, connections, ramp, options)
        if options.total:
            figures["total"] = run_total(bench, hector, options.total)
    rig.report("streams", figures, options.out)


def measure(
    bench: Rig,
    hector: Server,
    relay: Server,
    name: str,
    model: str,
    connections: int,
    ramp: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    hector.make_sessions(name, [f"{name}-{n}" for n in range(connections)])
    own_path = f"/agents/{name}/sessions/{name}-{{i}}/messages/stream"
    base = ["-b", BODY, "-c", connections, "-V", 200, *(["-r", ramp] if ramp else [])]
    for server, path in ((hector, own_path), (relay, f"/{model}")):  # warm up: connections, windows, caches
        bench.load(server, "-u", path, *base, "-n", connections * 2)
    rounds = []
    for _ in range(options.rounds):
        # The ramp comes before the plateau: the run is that much longer.
        seconds = options.seconds + (connections / ramp if ramp else 0)
        ours = bench.load(hector, "-u", own_path, *base, "-d", seconds, "--pid", hector.pid)
        theirs = bench.load(relay, "-u", f"/{model}", *base, "-d", seconds, "--pid", relay.pid)
        rounds.append((ours, theirs))
    added = TTFT_MS if name == "paced" else 0
    rows: list[list[object]] = [
        [name, "tokens/CPU-s", "tokens/s", "TTFT added p50", "p99", "gap p99", "events/token", "bad"]
    ]
    for label, place in (("hector", 0), ("reference", 1)):
        runs = [pair[place] for pair in rounds]
        rows.append(
            [
                label,
                median([per_cpu(run) for run in runs]),
                median([run["tokens_per_s"] for run in runs]),
                median([run["ttft_ms"]["p50"] - added for run in runs]),
                median([run["ttft_ms"]["p99"] - added for run in runs]),
                median([run["token_gap_ms"]["p99"] for run in runs]),
                median([run["events"] / run["tokens_seen"] for run in runs]),
                sum([run["bad"] for run in runs]),
            ]
        )
    show(rows)
    ratios = [per_cpu(ours) / per_cpu(theirs) for ours, theirs in rounds]
    print(f"{name}: ratio {median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})\n")
    merged = min([ours["events"] / ours["tokens_seen"] for ours, _ in rounds])
    if merged < 0.95:
        raise SystemExit(f"void: only {merged:.2f} events for a token")
    names = ("tokens_per_cpu_s", "tokens_per_s", "ttft_added_p50_ms", "ttft_added_p99_ms", "gap_p99_ms")
    return {
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "hector": dict(zip(names, rows[1][1:6], strict=True)),
        "reference": dict(zip(names, rows[2][1:6], strict=True)),
        "events_per_token": round(merged, 3),
        "mock_late_max_ms": bench.stats()["timer_late_max_ms"],
    }


def run_total(bench: Rig, hector: Server, total: int) -> dict[str, Any]:
    hector.make_sessions("burst", [f"burst-{n}" for n in range(64)])
    before = hector.resident_mb()
    path = "/agents/burst/sessions/burst-{i}/messages/stream"
    run = bench.load(hector, "-u", path, "-b", BODY, "-c", 64, "-n", total, "-V", 200, may_fail=True)
    after = hector.resident_mb()
    show(
        [
            ["streams", "ok", "bad", "lost", "repeated", "reordered", "tokens", "RSS before MB", "after"],
            [
                *(total, run["ok"], run["bad"], run["lost"], run["duplicated"], run["reordered"]),
                *(run["tokens_verified"], before, after),
            ],
        ]
    )
    names = ("ok", "bad", "lost", "duplicated", "reordered", "tokens_verified", "elapsed_s", "errors")
    return {name: run[name] for name in names} | {"rss_before_mb": before, "rss_after_mb": after}


def per_cpu(run: dict[str, Any]) -> float:
    found: float = run["tokens_per_cpu_s"]
    return found


if __name__ == "__main__":
    main()
