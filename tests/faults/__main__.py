"""The long form: python -m tests.faults [--faults 1000] [--seed 1] [--postgres URL]"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.faults.run import Run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Random faults against a server.")
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--postgres", metavar="URL", help="an empty database; default: SQLite")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults with this word in their name")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="hector-faults-") as folder:
        run = Run(
            Path(folder),
            given.seed,
            postgres_url=given.postgres,
            only=given.only,
            told=lambda words: print(f"{time.monotonic() - began:.0f} s: {words}", flush=True),
        )
        began = time.monotonic()
        asyncio.run(run.go(given.faults))
    if run.problems:
        print("\n".join(run.server.log[-40:]))
    for problem in run.problems:
        print("WRONG:", problem)
    return 1 if run.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
