"""Wire: how long a command to another replica takes, from the call to its answer, over Postgres.

python -m benchmarks.wire --database-url URL [--calls 1000]

The database is an empty one; the rows of the two replicas stay in it. The caller is this process, the target a child.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.cluster.wire import Wire
from app.domain.ids import format_id
from app.storage.engine.database import Database, migrate_database
from benchmarks.rig import percentile, report, show

AT_ONCE = 20
BUSY_SECONDS = 0.002
CALL_SECONDS = 30.0
LEASE = text(
    "INSERT INTO replicas (id, name, address, started_ms, lease_until)"
    " VALUES (:id, :id, '', 0, clock_timestamp() + interval '1 hour')"
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--database-url", required=True, help="an empty Postgres database")
    made.add_argument("--calls", type=int, default=1000, help="of each kind")
    made.add_argument("--out", type=Path, help="folder for the figures as JSON")
    made.add_argument("--target", help=argparse.SUPPRESS)
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    if options.target:
        with suppress(KeyboardInterrupt):
            asyncio.run(be_target(options.database_url, options.target))
        return
    migrate_database(options.database_url)
    target = new_id("target")
    arguments = ["--database-url", options.database_url, "--target", target]
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.wire", *arguments], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        report("wire", asyncio.run(measure(options, target)), options.out)
    finally:
        child.kill()
        child.wait()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_id(kind: str) -> str:
    return format_id(kind, milliseconds=now_ms(), randomness=secrets.randbits(65))


async def open_wire(url: str, replica_id: str) -> Wire:
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(LEASE, {"id": replica_id})
    wire = Wire(database, url, replica_id=replica_id, new_id=new_id, clock_ms=now_ms)
    wire.serve("echo", echo)
    await wire.open()
    return wire


async def echo(session_id: str, body: bytes) -> bytes:
    return body


async def be_target(url: str, replica_id: str) -> None:
    await open_wire(url, replica_id)
    print("open", flush=True)
    await asyncio.Event().wait()


async def measure(options: argparse.Namespace, target: str) -> dict[str, Any]:
    wire = await open_wire(options.database_url, new_id("caller"))

    async def call() -> float:
        began = time.perf_counter()
        await wire.call(target, "echo", new_id("sess"), b"x" * 100, seconds=CALL_SECONDS)
        return (time.perf_counter() - began) * 1000

    figures = await measure_kinds(call, options.calls)
    await wire.close()
    return figures


async def measure_kinds(call: Callable[[], Awaitable[float]], count: int) -> dict[str, Any]:
    for _ in range(50):
        await call()
    kinds = {
        "one after another": [await call() for _ in range(count)],
        f"{AT_ONCE} at a time": await several(call, count),
        "the caller's loop half busy": await beside_work(call, count),
    }
    show([["ms", "p50", "p99", "max"], *[[name, *percentiles(values)] for name, values in kinds.items()]])
    return {name: [round(value, 2) for value in percentiles(values)] for name, values in kinds.items()}


async def several(call: Callable[[], Awaitable[float]], count: int) -> list[float]:
    async def lane() -> list[float]:
        return [await call() for _ in range(count // AT_ONCE)]

    return [took for took_by_lane in await asyncio.gather(*[lane() for _ in range(AT_ONCE)]) for took in took_by_lane]


async def beside_work(call: Callable[[], Awaitable[float]], count: int) -> list[float]:
    async def work() -> None:
        while True:
            until = time.perf_counter() + BUSY_SECONDS
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(BUSY_SECONDS)

    working = asyncio.ensure_future(work())
    try:
        return [await call() for _ in range(count)]
    finally:
        working.cancel()


def percentiles(values: list[float]) -> list[float]:
    return [percentile(values, 50), percentile(values, 99), max(values)]


if __name__ == "__main__":
    main()
