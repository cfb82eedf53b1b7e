"""Sessions: create, read, list and delete among 10,000, at 16 connections; alone and beside 500 running streams.

python -m benchmarks.sessions --bench DIR [--sessions 10000] [--streams 500] [--connections 16]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, Server, show

SLOW = "mock-n400-d100-ttft50"
QUIET = "mock-n1-d0-ttft0"
HOT = 1000
START_RAMP = 100


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--sessions", type=int, default=10_000, help="how many there are")
    made.add_argument("--streams", type=int, default=500, help="streams that run in the second part; 0 leaves it out")
    made.add_argument("--connections", type=int, default=16, help="requests at a time")
    made.add_argument("--seconds", type=float, default=5, help="length of one run")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    with Rig(options.bench, database_url=options.database_url) as bench:
        hector = bench.serve({"quiet": QUIET, "slow": SLOW})
        runs = creates(bench, hector, options) | reads(bench, hector, options)
        alone = table("alone", runs)
        figures: dict[str, Any] = {"sessions": options.sessions, "alone": alone}
        if options.streams:
            figures["beside_streams"] = beside(bench, hector, options)
    rig.report("sessions", figures, options.out)


def once(bench: Rig, hector: Server, options: argparse.Namespace, lines: Any, *length: object) -> dict[str, Any]:
    at_a_time = ("-c", options.connections)
    return bench.load(hector, "-x", "-P", lines, "--by-request", *at_a_time, *length, "--pid", hector.pid)


def creates(bench: Rig, hector: Server, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The chosen ids are those that `reads` asks for; first, so that they are the only ones then."""
    chosen = bench.lines("chosen.txt", ['POST /agents/quiet/sessions {"session_id": "s{r}"}'])
    fresh = bench.lines("create.txt", ["POST /agents/quiet/sessions {}"])
    found = {"create, chosen id": once(bench, hector, options, chosen, "-n", options.sessions)}
    return found | {"create": once(bench, hector, options, fresh, "-d", options.seconds)}


def reads(bench: Rig, hector: Server, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    every = bench.lines("get.txt", [f"GET /agents/quiet/sessions/s{n}" for n in range(options.sessions)])
    hot = bench.lines("hot.txt", [f"GET /agents/quiet/sessions/s{n}" for n in range(min(HOT, options.sessions))])
    page = bench.lines("list.txt", ["GET /agents/quiet/sessions?limit=50"])
    return {
        "get, any": once(bench, hector, options, every, "-d", options.seconds),
        f"get, of {HOT:,}": once(bench, hector, options, hot, "-d", options.seconds),
        "list 50": once(bench, hector, options, page, "-d", options.seconds),
    }


def beside(bench: Rig, hector: Server, options: argparse.Namespace) -> dict[str, Any]:
    streams = options.streams
    hector.make_sessions("slow", [f"slow-{n}" for n in range(streams)])
    running = bench.load_beside(
        hector,
        *("-u", "/agents/slow/sessions/slow-{i}/messages/stream", "-b", '{"message": "go"}'),
        *("-c", streams, "-r", START_RAMP, "-n", streams, "-V", 400, "--pid", hector.pid),
    )
    while bench.stats()["streams_active"] < streams:
        time.sleep(0.1)
    create = bench.lines("create.txt", ["POST /agents/quiet/sessions {}"])
    delete = bench.lines("delete.txt", ["DELETE /agents/quiet/sessions/s{r}"])
    runs = {"create": once(bench, hector, options, create, "-d", options.seconds)}
    runs |= reads(bench, hector, options)
    runs["delete"] = once(bench, hector, options, delete, "-n", min(2000, options.sessions))
    active = bench.stats()["streams_active"]
    found = table(f"beside {streams} streams", runs)
    out, _ = running.communicate()
    stream = rig.last_json(out)
    print(f"of {streams} streams {active} were running at the end; bad: {stream['bad']} {stream['errors']}\n")
    if active < streams or stream["bad"]:
        raise SystemExit("void: not all streams ran all the time")
    names = ("p50", "p99", "max")
    return found | {"streams": streams, "token_gap_ms": {name: stream["token_gap_ms"][name] for name in names}}


def table(label: str, runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    rows: list[list[object]] = [[label, "requests/s", "per CPU-second", "p50 ms", "p90", "p99"]]
    found: dict[str, Any] = {}
    for name, run in runs.items():
        times = run["total_ms"]
        rows.append([name, run["per_s"], run["ok_per_cpu_s"], times["p50"], times["p90"], times["p99"]])
        found[name] = {"per_s": run["per_s"], "p50_ms": times["p50"], "p90_ms": times["p90"], "p99_ms": times["p99"]}
    show(rows)
    print()
    return found


if __name__ == "__main__":
    main()
