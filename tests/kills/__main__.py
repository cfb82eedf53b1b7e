"""The long form: python -m tests.kills [--rounds 100] [--postgres URL] [--point NAME] [--seed N]

With --replicas 3 [--redis URL] the victim is one of several servers, and another goes on with its turns.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.kills.checks import OnCrash
from tests.kills.deeds import POINTS
from tests.kills.run import Run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description="kill -9 at every point of a tool call.")
    parser.add_argument("--rounds", type=int, default=100, help="kills at each point, half of them under `interrupt`")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--postgres", metavar="URL", help="an empty database for each half, with {} for its name")
    parser.add_argument("--point", choices=POINTS, help="only this one")
    parser.add_argument("--on-crash", choices=["resume", "interrupt"], help="only this half")
    parser.add_argument("--replicas", type=int, default=1, help="so many servers share the database of --postgres")
    parser.add_argument("--redis", metavar="URL", help="their tail")
    given = parser.parse_args()
    points = (given.point,) if given.point else POINTS
    halves: tuple[OnCrash, ...] = (given.on_crash,) if given.on_crash else ("resume", "interrupt")
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()
    wrong: list[str] = []
    for half in halves:
        with tempfile.TemporaryDirectory(prefix="hector-kills-") as folder:
            run = Run(
                Path(folder),
                given.seed,
                on_crash=half,
                postgres_url=given.postgres.format(half) if given.postgres else None,
                replicas=given.replicas,
                redis_url=given.redis,
                points=points,
                told=lambda words: print(f"{time.monotonic() - began:.0f} s: {words}", flush=True),
            )
            asyncio.run(run.go(-(-given.rounds * len(points) // len(halves))))
            print(f"{half}: {run.figures}", flush=True)
            if run.problems:
                print("\n".join([line for server in run.servers for line in server.log[-40:]]))
            wrong += run.problems
    for problem in wrong:
        print("WRONG:", problem)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
