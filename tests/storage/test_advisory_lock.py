"""One server on a Postgres database: the second waits or is refused, and a lost lock is taken again or given up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.domain.errors import Unavailable
from app.storage.engine.advisory_lock import AdvisoryLock
from app.storage.engine.lock import find_holders
from tests.fixtures.eventually import eventually
from tests.fixtures.line import Line
from tests.fixtures.postgres import cut_connections

URL = "http://127.0.0.1:8080"
HOLD = """
import asyncio, sys, time
from app.storage.engine.lock import make_lock
lock = make_lock(sys.argv[1])
asyncio.run(lock.acquire(url="http://127.0.0.1:9", wait_seconds=0))
print("held", flush=True)
time.sleep(60)
"""


def lock_on(url: str) -> AdvisoryLock:
    return AdvisoryLock(url, ping_seconds=0.05)


@pytest.fixture
def lock(postgres_url: str) -> Iterator[AdvisoryLock]:
    lock = lock_on(postgres_url)
    yield lock
    lock.release()


@pytest.fixture
def other(postgres_url: str) -> Iterator[AdvisoryLock]:
    lock = lock_on(postgres_url)
    yield lock
    lock.release()


async def test_a_second_holder_is_refused_in_one_sentence_that_names_the_first(
    lock: AdvisoryLock, other: AdvisoryLock
) -> None:
    await lock.acquire(url=URL, wait_seconds=0)
    with pytest.raises(Unavailable, match=rf"process {os.getpid()}, {URL}\) is at work on this data: one server works"):
        await other.acquire(url="x", wait_seconds=0)
    assert (lock.is_held, other.is_held) == (True, False)


async def test_a_second_one_waits_for_the_first(lock: AdvisoryLock, other: AdvisoryLock) -> None:
    await lock.acquire(url=URL, wait_seconds=0)
    waiting = asyncio.ensure_future(other.acquire(url="x", wait_seconds=10))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    lock.release()
    await waiting
    assert (lock.is_held, other.is_held) == (False, True)


async def test_other_data_has_a_lock_of_its_own(lock: AdvisoryLock, empty_postgres_url: str) -> None:
    stranger = lock_on(empty_postgres_url)
    await lock.acquire(url=URL, wait_seconds=0)
    await stranger.acquire(url=URL, wait_seconds=0)
    stranger.release()


async def test_a_killed_holder_is_not_waited_for(lock: AdvisoryLock, postgres_url: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, postgres_url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(Unavailable, match=f"process {holder.pid}, http://127.0.0.1:9"):
            await lock.acquire(url=URL, wait_seconds=0)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate(timeout=10)
    await lock.acquire(url=URL, wait_seconds=5)


async def test_a_lock_whose_connection_was_cut_is_taken_again(
    lock: AdvisoryLock, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[None] = []
    lock.on_taken = lambda: taken.append(None)
    await lock.acquire(url=URL, wait_seconds=0)
    assert cut_connections(postgres_url) == 1
    await eventually(lambda: _is("the lock on the database is ours again" in caplog.text))
    assert lock.is_held
    other = lock_on(postgres_url)
    with pytest.raises(Unavailable):
        await other.acquire(url="x", wait_seconds=0)
    assert taken == []


async def test_a_lock_that_another_took_meanwhile_is_given_up(postgres_url: str, other: AdvisoryLock) -> None:
    with Line(postgres_url) as line:
        lock = lock_on(line.url)
        gone = asyncio.get_running_loop().create_future()
        lock.on_taken = lambda: gone.set_result(None)
        await lock.acquire(url=URL, wait_seconds=0)
        line.go_down()
        await other.acquire(url="x", wait_seconds=5)
        assert not gone.done()
        line.is_down = False
        await asyncio.wait_for(gone, 5)
        assert (lock.is_held, other.is_held) == (False, True)
        lock.release()


async def test_a_database_that_does_not_answer_is_said_to_be_without_its_password() -> None:
    lock = lock_on("postgresql://hector:hidden@127.0.0.1:1/hector")
    with pytest.raises(
        Unavailable, match=r"postgresql://hector:\*\*\*@127\.0\.0\.1:1/hector cannot be opened"
    ) as caught:
        await lock.acquire(url=URL, wait_seconds=0)
    assert "hidden" not in str(caught.value)


async def _is(fact: bool) -> bool:
    return fact


async def test_who_holds_the_lock_can_be_asked_by_others(lock: AdvisoryLock, postgres_url: str) -> None:
    assert find_holders(postgres_url) == []
    await lock.acquire(url=URL, wait_seconds=0)
    assert find_holders(postgres_url) == [{"pid": os.getpid(), "url": URL, "host": socket.gethostname()}]
    lock.release()
    await eventually(lambda: _is(not find_holders(postgres_url)))
