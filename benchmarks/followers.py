"""Followers: what 1,000 readers cost that wait for nothing on 1,000 idle sessions.

python -m benchmarks.followers --bench DIR [--followers 1000] [--seconds 30]
"""

from __future__ import annotations

import argparse
import time

from benchmarks import rig
from benchmarks.rig import Rig, show


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--followers", type=int, default=1000)
    made.add_argument("--seconds", type=float, default=30, help="how long they stay")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    with Rig(options.bench, database_url=options.database_url) as bench:
        hector = bench.serve({"a": "mock-n1-d0-ttft0"})
        hector.make_sessions("a", [f"s{n}" for n in range(options.followers)])
        path = "/agents/a/sessions/s{i}/messages/stream"
        before = hector.resident_mb()
        held = bench.load_beside(
            hector,
            *("-u", path, "-c", options.followers, "-r", 500, "--hold", options.seconds, "--pid", hector.pid),
        )
        samples = []
        while held.poll() is None:
            time.sleep(1)
            samples.append(hector.resident_mb())
        out, _ = held.communicate()
        time.sleep(1)
        after = hector.resident_mb()
    found = rig.last_json(out)
    growth = max(samples) - before
    show(
        [
            ["followers", "bad", "RSS before MB", "peak", "growth", "KB each", "after they left", "CPU s"],
            [
                *(options.followers, found["bad"], before, max(samples), growth),
                *(growth * 1024 / options.followers, after, found["server_cpu_s"]),
            ],
        ]
    )
    rig.report(
        "followers",
        {
            "followers": options.followers,
            "bad": found["bad"],
            "growth_mb": round(growth, 1),
            "cpu_s": found["server_cpu_s"],
        },
        options.out,
    )


if __name__ == "__main__":
    main()
