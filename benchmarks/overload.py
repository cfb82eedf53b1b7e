"""Overload: whether the server still says how it is while more streams run than it can serve.

    python -m benchmarks.overload --bench DIR [--streams 2000] [--seconds 30] [--database-url URL]

Every stream is a turn of five tokens a second. `/health`, `/ready` and `/metrics` are asked in turns all the while,
each on a new connection, as a probe does. Refusals (503 `overloaded`) are counted, and not a fault.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks import rig
from benchmarks.rig import Rig, last_json, request

MODEL = "mock-n150-d200-ttft200"
BODY = '{"message": "go"}'
PROBES = ("/health", "/ready", "/metrics")
PAUSE_SECONDS = 0.1


def main(argv: list[str] | None = None) -> None:
    made = rig.parser(__doc__ or "")
    made.add_argument("--streams", type=int, default=2000, help="streams at once")
    made.add_argument("--seconds", type=float, default=30, help="how long")
    options = made.parse_args(argv)
    with Rig(options.bench, database_url=options.database_url) as bench:
        server = bench.serve({"slow": MODEL})
        server.make_sessions("slow", [f"slow-{n}" for n in range(options.streams)])
        load = bench.load_beside(
            server,
            *("-u", "/agents/slow/sessions/slow-{i}/messages/stream", "-b", BODY),
            *("-c", options.streams, "-d", options.seconds),
        )
        answered: dict[str, list[float]] = {path: [] for path in PROBES}
        wrong: dict[str, int] = dict.fromkeys(PROBES, 0)
        while load.poll() is None:
            for path in PROBES:
                begin = time.monotonic()
                status = request(server.port, "GET", path)[0]
                answered[path].append(time.monotonic() - begin)
                wrong[path] += status != 200
            time.sleep(PAUSE_SECONDS)
        found = last_json(load.communicate()[0])
    figures: dict[str, Any] = {
        path: {
            "asked": len(times),
            "not_200": wrong[path],
            "p50_ms": _ms(statistics.median(times)),
            "max_ms": _ms(max(times)),
        }
        for path, times in answered.items()
    }
    rig.report("overload", figures | {"load": found}, options.out)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    main()
