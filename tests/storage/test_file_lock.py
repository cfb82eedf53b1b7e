"""One server on its data: the second waits or is refused; the system frees what a dead one held."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.errors import Unavailable
from app.storage.engine.file_lock import FileLock, holder_of

HOLD = """
import asyncio, sys, time
from pathlib import Path
from app.storage.engine.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
asyncio.run(lock.acquire(url="http://127.0.0.1:9", wait_seconds=0))
print("held", flush=True)
time.sleep(60)
"""


def hold_elsewhere(database: Path) -> subprocess.Popen[str]:
    """A process of its own that holds the lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(database)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    holder.send_signal(number)
    holder.communicate(timeout=10)


async def test_the_file_names_the_holder_while_the_lock_is_held(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "data" / "hector.db")
    await lock.acquire(url="http://127.0.0.1:8080", wait_seconds=0)
    assert lock.path == tmp_path / "data" / "hector.db.lock"
    assert (holder_of(lock.path) or {})["url"] == "http://127.0.0.1:8080"
    lock.release()
    assert holder_of(lock.path) is None
    lock.release()


async def test_a_second_holder_is_refused_in_one_sentence_that_names_the_first(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "a.db"), FileLock(tmp_path / "a.db")
    await first.acquire(url="http://127.0.0.1:8080", wait_seconds=0)
    with pytest.raises(
        Unavailable, match=rf"process {os.getpid()}, http://127\.0\.0\.1:8080.*SQLite serves one server"
    ):
        await second.acquire(url="http://127.0.0.1:8081", wait_seconds=0)
    assert (holder_of(first.path) or {})["url"] == "http://127.0.0.1:8080"
    first.release()


async def test_a_refused_holder_leaves_no_file_open(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "a.db"), FileLock(tmp_path / "a.db")
    await first.acquire(url="u", wait_seconds=0)
    with pytest.raises(Unavailable):
        await second.acquire(url="u", wait_seconds=0)
    waiting = asyncio.ensure_future(second.acquire(url="u", wait_seconds=10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    gc.collect()  # an open file would warn, and a warning fails the test
    second.release()
    first.release()


async def test_a_second_one_waits_for_the_first(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "a.db"), FileLock(tmp_path / "a.db")
    await first.acquire(url="first", wait_seconds=0)
    waiting = asyncio.ensure_future(second.acquire(url="second", wait_seconds=10))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    first.release()
    await waiting
    assert (holder_of(second.path) or {})["url"] == "second"
    second.release()


async def test_other_data_has_a_lock_of_its_own(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "a.db"), FileLock(tmp_path / "b.db")
    await one.acquire(url="u", wait_seconds=0)
    await other.acquire(url="u", wait_seconds=0)
    one.release()
    other.release()


async def test_a_holder_in_another_process_is_seen_and_a_killed_one_is_not_waited_for(tmp_path: Path) -> None:
    holder = hold_elsewhere(tmp_path / "a.db")
    lock = FileLock(tmp_path / "a.db")
    try:
        with pytest.raises(Unavailable, match=f"process {holder.pid}"):
            await lock.acquire(url="mine", wait_seconds=0)
        os.kill(holder.pid, signal.SIGSTOP)  # it hangs, but it lives
        with pytest.raises(Unavailable):
            await lock.acquire(url="mine", wait_seconds=0)
    finally:
        end(holder)
    assert (holder_of(lock.path) or {})["pid"] == holder.pid, "the file still names the dead one"
    await lock.acquire(url="mine", wait_seconds=0)
    assert (holder_of(lock.path) or {})["url"] == "mine"
    lock.release()


@pytest.mark.parametrize("words", ["", "nonsense", "[1]", "\x00\xff"])
def test_a_lock_file_that_says_nothing_names_nobody(tmp_path: Path, words: str) -> None:
    path = tmp_path / "a.db.lock"
    path.write_text(words, encoding="latin-1")
    assert holder_of(path) is None
    assert holder_of(tmp_path / "missing.lock") is None
