"""History: how long a turn takes in a session with 10 stored messages and in one with 10,000.

    python -m benchmarks.history --bench DIR [--messages 10000] [--turns 300]

Turns of both kinds alternate, so that a drift of the machine hits both. Cold: the first turn of
a session after a restart, when another session has had one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time

from benchmarks import rig
from benchmarks.rig import Rig, Server, median, percentile, show

MODEL = "mock-n20-d0-ttft0"
SHORT = 10


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--messages", type=int, default=10_000, help="stored messages of the long session")
    made.add_argument("--turns", type=int, default=300, help="measured turns of each kind")
    made.add_argument("--restarts", type=int, default=5, help="measured cold turns of each kind")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    with Rig(options.bench, database_url=options.database_url) as bench:
        hector = bench.serve({"a": MODEL})
        cold_names = [f"cold-{n}" for n in range(options.restarts)]
        shorts = [f"short-{n}" for n in range(options.turns)]
        hector.make_sessions("a", ["long", "other", *shorts, *cold_names])
        connection = connect(hector)
        fill(connection, "long", options.messages)
        fill(connection, "other", min(1000, options.messages))
        for name in (*shorts, *cold_names):
            fill(connection, name, SHORT)
        pairs = [(turn(connection, name), turn(connection, "long")) for name in shorts]
        cold = []
        for name in cold_names:
            connection.close()
            hector.stop()
            hector = bench.serve({"a": MODEL})
            connection = connect(hector)
            turn(connection, "other")  # what a process does once (connecting, reading its table of tokens) is not meant
            cold.append((turn(connection, name), turn(connection, "long")))
    short, long = [a for a, _ in pairs], [b for _, b in pairs]
    ratio = median(long) / median(short)
    cold_short, cold_long = median([a for a, _ in cold]), median([b for _, b in cold])
    show(
        [
            ["turn, ms", "p50", "p95", "cold p50"],
            [f"{SHORT} messages", median(short), percentile(short, 95), cold_short],
            [f"{options.messages:,} messages", median(long), percentile(long, 95), cold_long],
            ["ratio", ratio, percentile(long, 95) / percentile(short, 95), cold_long / cold_short],
        ]
    )
    rig.report(
        "history",
        {
            "messages": options.messages,
            "short_p50_ms": round(median(short), 3),
            "long_p50_ms": round(median(long), 3),
            "ratio": round(ratio, 3),
            "cold_ratio": round(cold_long / cold_short, 3),
        },
        options.out,
    )


def connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)


def fill(connection: http.client.HTTPConnection, session: str, messages: int) -> None:
    for _ in range(messages // 2):
        turn(connection, session)


def turn(connection: http.client.HTTPConnection, session: str) -> float:
    """Milliseconds from the request to the whole answer."""
    began = time.perf_counter()
    connection.request("POST", f"/agents/a/sessions/{session}/messages", json.dumps({"message": "go on"}))
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
