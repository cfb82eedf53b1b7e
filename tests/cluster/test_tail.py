"""The tail in a real Redis: what it refuses, what readers wait for, what happens while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest

from app.cluster import tail_entry
from app.cluster.tail import RedisTail
from app.cluster.tail_entry import Entry
from app.conversation.phase import phase_of
from app.domain.event import EventKind
from app.domain.session import SessionStatus
from app.events.log import TAIL, SessionLog
from app.events.tape import Tape
from app.storage.engine.database import Database
from app.storage.engine.fence import FOREVER, Lease
from tests.fixtures.clock import Clock
from tests.fixtures.events import an_event
from tests.fixtures.house import until
from tests.fixtures.redis import RedisServer
from tests.fixtures.rows import a_session


class Viewer:
    """A mirror, as far as the reader needs one: it shows what follows what it has."""

    def __init__(self, session_id: str = "s1") -> None:
        self.session_id = session_id
        self.shown_upto = 0
        self.entries: list[Entry] = []

    def arrived(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.shown_upto = entry.upto

    @property
    def text(self) -> bytes:
        return b"".join([run.text for entry in self.entries for run in entry.runs])


class Tails:
    """Opens tails on one Redis."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: list[asyncio.Task[None]] = []

    async def open(self, name: str = "a", *, confirms: bool = True, lease: Lease = FOREVER) -> RedisTail:
        tail = RedisTail(self._url, namespace="test", replica_id=name, lease=lease, confirms=confirms)
        self._running.append(asyncio.create_task(tail.run()))
        await until(lambda: tail.is_up)
        return tail

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def tails(redis_server: RedisServer) -> AsyncIterator[Tails]:
    tails = Tails(redis_server.url)
    yield tails
    await tails.close()


def a_log(tail: RedisTail, *, session_id: str = "s1", last_seq: int = 0) -> SessionLog:
    session = a_session(session_id, last_seq=last_seq, reserved_seq=1024)
    log = SessionLog(session, Database(None), ring_bytes=100_000, clock_ms=Clock())
    log.tape = Tape("t1")
    log.tail = tail.writer.tail_of(log)
    return log


def say(log: SessionLog, *words: bytes) -> None:
    log.append_text(EventKind.TEXT, list(words))


async def test_the_end_comes_although_a_cancellation_was_swallowed(
    tails: Tails, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = await tails.open()
    swallowed = 0

    async def flush() -> None:
        nonlocal swallowed
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            swallowed += 1
            if swallowed > 1:
                raise

    monkeypatch.setattr(tail.writer, "_flush", flush)
    say(a_log(tail), b"a")
    await until(tail.writer._sending.locked)
    async with asyncio.timeout(20):
        await tails.close()
    assert swallowed == 1


async def test_redis_refuses_a_number_that_is_not_above_the_last_one(redis_server: RedisServer) -> None:
    assert redis_server.command("XADD", "k", "5-0", "f", "x") == b"$3\r\n5-0\r\n"
    for number in ("5-0", "4-0"):
        assert b"equal or smaller" in redis_server.command("XADD", "k", number, "f", "x")


async def test_readers_see_text_once_it_is_in_the_tail(tails: Tails, redis_server: RedisServer) -> None:
    tail = await tails.open()
    log = a_log(tail)
    redis_server.pause()
    say(log, b"a", b"b")
    assert (log.last_seq, log.visible_seq, log.tail_from(0)) == (2, 0, [])
    redis_server.go_on()
    await until(lambda: log.visible_seq == 2)
    assert b"ab" in redis_server.command("XRANGE", "test:s:s1", "-", "+")


async def test_a_committed_fact_waits_for_text_before_it_only(tails: Tails, redis_server: RedisServer) -> None:
    log = a_log(await tails.open())
    redis_server.pause()
    log.publish(log.take_fact(an_event(EventKind.TURN_QUEUED)))
    assert log.visible_seq == 1
    say(log, b"a")
    log.publish(log.take_fact(an_event(EventKind.TURN_QUEUED)))
    assert log.visible_seq == 1
    redis_server.go_on()
    await until(lambda: log.visible_seq == 3)


async def test_without_confirmation_readers_see_text_at_once(tails: Tails, redis_server: RedisServer) -> None:
    log = a_log(await tails.open(confirms=False))
    redis_server.pause()
    say(log, b"a")
    assert log.visible_seq == 1
    redis_server.go_on()
    await until(lambda: b"1-0" in redis_server.command("XRANGE", "test:s:s1", "-", "+"))


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_when_redis_goes_readers_see_everything_and_it_is_used_again_once_it_is_back(
    how: str, tails: Tails, redis_server: RedisServer
) -> None:
    tail = await tails.open()
    log = a_log(tail)
    redis_server.kill() if how == "killed" else redis_server.pause()
    say(log, b"a")
    await until(lambda: log.visible_seq == 1)
    assert phase_of(log, None)["tail"] == "degraded"
    say(log, b"b")
    assert log.visible_seq == 2
    redis_server.start() if how == "killed" else redis_server.go_on()
    await until(lambda: tail.is_up)
    assert "tail" not in phase_of(log, None)
    say(log, b"c")
    await until(lambda: log.visible_seq == 3)
    (entry,) = [one for one in await _entries(tail, "s1") if one.upto == 3]
    assert entry.after == 2  # who lacks the second word notices


async def test_one_command_reads_all_sessions_also_those_that_come_while_it_waits(tails: Tails) -> None:
    writing, reading = await tails.open("a"), await tails.open("b")
    logs = [a_log(writing, session_id=f"s{number}") for number in range(5)]
    viewers = [Viewer(f"s{number}") for number in range(5)]
    for log, viewer in zip(logs, viewers, strict=True):
        say(log, b"first ")
        reading.reader.follow(viewer)
        await until(lambda viewer=viewer: viewer.text == b"first ")
    for log in logs:
        say(log, b"second")
    await until(lambda: {viewer.text for viewer in viewers} == {b"first second"})
    reading.reader.leave(viewers[0])
    for log in logs:
        say(log, b"!")
    await until(lambda: {viewer.text for viewer in viewers[1:]} == {b"first second!"})
    assert viewers[0].text == b"first second"


async def test_an_entry_that_cannot_be_read_does_not_end_the_reading(tails: Tails, redis_server: RedisServer) -> None:
    tail = await tails.open()
    viewer, log = Viewer(), a_log(tail, last_seq=1)
    tail.reader.follow(viewer)
    redis_server.command("XADD", "test:s:s1", "1-0", "events", "no entry")
    say(log, b"a")
    await until(lambda: viewer.text == b"a")


async def test_who_was_taken_for_dead_adds_nothing_and_shows_nothing(tails: Tails, redis_server: RedisServer) -> None:
    lease = Lease()
    lease.until = monotonic() + 3600
    old, new = await tails.open("old", lease=lease), await tails.open("new")
    log = a_log(old)
    say(log, b"kept")
    await until(lambda: log.visible_seq == 1)
    found = await new._fence_and_read(log.session)
    assert [run.text for fields in found for run in tail_entry.decode(fields[tail_entry.FIELD]).runs] == [b"kept"]
    written = old.writer.entries
    say(log, b"too late")
    lease.until = 0.0  # it was frozen in between
    await until(lambda: not old.writer._wanted.is_set())
    await old._client.ping()
    assert old.writer.entries == written
    assert log.visible_seq == 1
    assert await _numbers(new, "s1") == [1, 1024 - TAIL + 1]
    assert b"equal or smaller" in redis_server.command("XADD", "test:s:s1", "2-0", "events", "too late")


async def test_a_tail_with_higher_numbers_of_a_deleted_session_begins_anew(
    tails: Tails, redis_server: RedisServer
) -> None:
    tail = await tails.open()
    redis_server.command("XADD", "test:s:s1", "500-0", "events", "of another one with this id")
    log = a_log(tail)
    say(log, b"a")
    await until(lambda: log.visible_seq == 1)
    say(log, b"b")
    await until(lambda: log.visible_seq == 2)
    await until(lambda: b"2-0" in redis_server.command("XRANGE", "test:s:s1", "-", "+"))
    assert b"another" not in redis_server.command("XRANGE", "test:s:s1", "-", "+")


async def test_what_is_erased_is_not_written_again(tails: Tails, redis_server: RedisServer) -> None:
    tail = await tails.open()
    log = a_log(tail)
    say(log, b"secret")
    await until(lambda: log.visible_seq == 1)
    say(log, b"more")
    log.over = SessionStatus.TERMINATED
    await tail.writer.erase("s1")
    log.publish(log.take_fact(an_event(EventKind.TURN_QUEUED)))
    other = a_log(tail, session_id="s2")
    say(other, b"a")
    await until(lambda: other.visible_seq == 1)
    assert redis_server.command("EXISTS", "test:s:s1") == b":0\r\n"


async def test_what_is_erased_while_redis_is_away_goes_when_it_is_back(tails: Tails, redis_server: RedisServer) -> None:
    tail = await tails.open()
    log = a_log(tail)
    say(log, b"secret")
    await until(lambda: log.visible_seq == 1)
    redis_server.pause()
    say(log, b"more")
    await until(lambda: not tail.writer.is_up)
    log.over = SessionStatus.TERMINATED
    await tail.writer.erase("s1")
    redis_server.go_on()
    await until(lambda: tail.writer.is_up)
    assert redis_server.command("EXISTS", "test:s:s1") == b":0\r\n"


async def test_a_redis_that_is_full_costs_no_text_and_one_line_of_log(
    tails: Tails, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    log = a_log(await tails.open())
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    for number in range(1, 4):
        say(log, b"x")
        await until(lambda number=number: log.visible_seq == number)
        await until(lambda: log.tail is not None and log.tail.is_degraded)
        await until(lambda: log.tail is not None and not log.tail.is_degraded)
    assert len([record for record in caplog.records if "Redis does not answer" in record.message]) == 1
    redis_server.command("CONFIG", "SET", "maxmemory", "0")
    say(log, b"y")
    await until(lambda: log.visible_seq == 4)
    assert b"4-0" in redis_server.command("XRANGE", "test:s:s1", "-", "+")


async def test_what_is_in_the_tail_and_no_entry_does_not_hinder_a_successor(
    tails: Tails, redis_server: RedisServer
) -> None:
    tail = await tails.open()
    redis_server.command("XADD", "test:s:s1", "5-0", "events", '["of another release"]')
    assert await tail.rescue(Database(None), a_session(reserved_seq=1024)) == 0


async def test_a_stream_is_trimmed_and_expires(tails: Tails, redis_server: RedisServer) -> None:
    log = a_log(await tails.open())
    tape = log.tape
    assert tape is not None
    for number in range(1, 400):
        say(log, b"x")
        await until(lambda number=number: log.visible_seq == number)
        tape.seal_stored(number)
    assert int(redis_server.command("XLEN", "test:s:s1")[1:]) < 200
    assert int(redis_server.command("PTTL", "test:s:s1")[1:]) > 5_000
    log.publish(log.take_fact(an_event(EventKind.TURN_FINISHED)))
    await until(lambda: int(redis_server.command("PTTL", "test:s:s1")[1:]) <= 5_000)


async def _entries(tail: RedisTail, session_id: str) -> list[Entry]:
    found = await _range(tail, session_id)
    return [tail_entry.decode(fields[tail_entry.FIELD]) for _, fields in found if tail_entry.FIELD in fields]


async def _numbers(tail: RedisTail, session_id: str) -> list[int]:
    return [int(number.partition(b"-")[0]) for number, _ in await _range(tail, session_id)]


async def _range(tail: RedisTail, session_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = await tail._client.xrange(tail.key_of(session_id))
    return list(found)
