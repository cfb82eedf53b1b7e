"""Limits over several servers: three processes on one Postgres grant what one would, with an error of a tenth."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.domain.errors import Unavailable
from app.limits.rates import Rate
from app.limits.shared import KEEP_SECONDS, SharedCounters
from app.storage.engine.database import Database
from tests.cli.command import ROOT

SECRET = b"secret"
PROGRAM = """
import asyncio, json, sys, time
from app.limits.rates import Rate
from app.limits.shared import SharedCounters
from app.storage.engine.database import Database

async def main(url, holder, per_second, burst, until):
    database = Database(url, pool_size=2)
    counters = SharedCounters(database, holder, secret=b"secret")
    queries = 0
    read = database.read
    async def counted(query):
        nonlocal queries
        queries += 1
        return await read(query)
    database.read = counted
    await counters.take("warm-up", Rate(1000, 1000))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    granted = asked = 0
    end = time.monotonic() + until
    while time.monotonic() < end:
        for _ in range(10):
            asked += 1
            granted += (await counters.take("ann", Rate(per_second, burst))).wait_seconds == 0
        await asyncio.sleep(0.002)
    print(json.dumps({"granted": granted, "asked": asked, "queries": queries}), flush=True)
    await counters.close()

asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
"""


async def test_three_processes_grant_what_one_would(postgres_url: str) -> None:
    per_second, burst, seconds = 200.0, 200, 2.5
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PROGRAM, postgres_url, f"server-{number}", str(per_second), str(burst), str(seconds)),
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    began = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        await process.stdin.drain()
    results = [json.loads((await process.communicate())[0]) for process in processes]
    took = time.monotonic() - began
    granted, asked = sum(one["granted"] for one in results), sum(one["asked"] for one in results)
    most = burst + per_second * took  # the processes end by their own clocks, before this one looks
    least = burst + per_second * seconds
    assert asked > 2 * most
    assert 0.9 * least <= granted <= 1.1 * most, (granted, least, most)
    assert sum(one["queries"] for one in results) < asked / 5


@pytest_asyncio.fixture
async def servers(postgres_url: str) -> AsyncIterator[list[SharedCounters]]:
    databases = [Database(postgres_url, pool_size=2) for _ in range(3)]
    yield [SharedCounters(database, f"server-{n}", secret=SECRET) for n, database in enumerate(databases)]
    for database in databases:
        await database.close()


@pytest.mark.parametrize("most", [3, 50])
async def test_places_are_never_more_than_there_are_and_a_tenth_less_at_most(
    servers: list[SharedCounters], most: int
) -> None:
    async def fill(server: SharedCounters) -> int:
        return sum(await asyncio.gather(*[server.hold("ann", most) for _ in range(most)]))

    held = await asyncio.gather(*[fill(server) for server in servers])
    assert 0.9 * most <= sum(held) <= most
    assert not await servers[0].hold("ann", most) or sum(held) < most


async def test_what_one_gives_back_another_gets(servers: list[SharedCounters]) -> None:
    first, second, _ = servers
    assert await first.hold("ann", 1)
    assert not await second.hold("ann", 1)
    first.release("ann")
    await first._give_back()  # not yet: it may be wanted again at once
    assert not await second.hold("ann", 1)
    first._clock = lambda: time.monotonic() + KEEP_SECONDS + 1
    await first._give_back()
    assert await second.hold("ann", 1)
    assert not await first.hold("ann", 1)
    await second.close()
    assert await first.hold("ann", 1)


async def test_places_of_a_server_that_died_are_free_after_its_lease(
    servers: list[SharedCounters], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = servers
    monkeypatch.setattr("app.limits.shared.LEASE_SECONDS", 0.3)
    assert await first.hold("ann", 1)  # and is never heard of again
    async with asyncio.timeout(10):
        while not await second.hold("ann", 1):
            await asyncio.sleep(0.05)


async def test_the_database_learns_no_names(servers: list[SharedCounters], postgres_url: str) -> None:
    from tests.fixtures.postgres import run

    await servers[0].take("requests\0shop\0ann-the-user", Rate(10, 10))
    await servers[0].hold("turns\0shop\0ann-the-user", 5)
    stored = str(run(postgres_url, "SELECT * FROM allowances")) + str(run(postgres_url, "SELECT * FROM places"))
    assert "server-0" in stored
    assert "ann" not in stored


async def test_while_the_database_is_away_a_server_counts_by_itself(
    servers: list[SharedCounters], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_query: object) -> object:
        raise Unavailable("away")

    monkeypatch.setattr(servers[0]._database, "read", away)
    rate = Rate(1, 3)
    waits = [(await servers[0].take("ann", rate)).wait_seconds for _ in range(5)]
    assert [wait == 0 for wait in waits] == [True, True, True, False, False]
    assert [await servers[0].hold("ann", 2) for _ in range(3)] == [True, True, False]
