"""The promise: for every reader, over all reconnects, plain chunks add up to the stored text.

Turns, readers, sweeps, a failing disk and evictions in any order; then every reader catches up, and what
it was told is compared with the journal and the messages.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import HectorError
from app.events.follow import Reading
from app.events.log import SessionLog
from app.llm.base import LLMError
from app.turns import finish
from app.turns.open_turn import OpenTurn
from tests.fixtures.hand_llm import HandStream
from tests.fixtures.house import NEVER, House, frames_of, until

WORDS = ["a", "bc", " ", "ü€", "😀", '"\\', "\n", "word " * 3, ""]
Frame = tuple[int, str, dict[str, Any]]


@dataclass
class Reader:
    """One client over all its reconnects: where it began, and everything it was told."""

    start: int
    lag_bytes: int
    merge: bool
    reading: Reading | None = None
    told: list[Frame] = field(default_factory=list)

    @property
    def cursor(self) -> int:
        return self.reading.cursor if self.reading is not None else (self.told[-1][0] if self.told else self.start)


class World:
    def __init__(self, seed: int, file: Path | None = None) -> None:
        self.random = random.Random(seed)
        self.file = file
        self.house = House(file, ring_bytes=self.random.choice([200, 1000, 100_000]))
        self.readers: list[Reader] = []
        self.turns: list[OpenTurn] = []
        self.pending: set[asyncio.Future[Any]] = set()
        self.log: SessionLog

    async def open(self) -> None:
        await self.house.open()
        self.log = await self.house.session()

    @property
    def stream(self) -> HandStream | None:
        """The answer that is being given, if there is one."""
        streams = self.house.llm.streams
        return streams[-1] if streams and self.log.tape is not None and not streams[-1].is_stopped else None

    # -- what can happen ------------------------------------------------------------------------

    async def message(self) -> None:
        on_busy = self.random.choice(["queue", "queue", "replace"])
        self._begin(self._accepted(on_busy, self.random.random() < 0.2))

    async def _accepted(self, on_busy: str, debug: bool) -> None:
        try:
            turn = await self.house.start(self.log, "a question", on_busy=on_busy, debug=debug, grace_seconds=NEVER)
        except HectorError:
            return
        self.turns.append(turn)

    async def say(self) -> None:
        if self.stream is not None:
            words = self.random.choices(WORDS, k=self.random.choice([1, 1, 3, 20]))
            (self.stream.think if self.random.random() < 0.2 else self.stream.say)(*words)

    async def end_answer(self) -> None:
        if self.stream is not None:
            if self.random.random() < 0.2:
                self.stream.fail(LLMError("It is ill"))
            else:
                self.stream.finish()

    async def cancel(self) -> None:
        everything = self.random.random() < 0.3
        self._begin(self.house.stopping.cancel(self.log, everything=everything, wait_seconds=0))

    async def sweep(self) -> None:
        self.house.store.journal.write(self.log)

    async def stall(self) -> None:
        """The disk hangs, or what hung fails or goes on."""
        database = self.house.database
        if database._held is None:
            database.hold()
        elif self.random.random() < 0.3:
            database.fail_held()
        else:
            database.let_go()

    async def join(self) -> None:
        start = self.random.choice([0, self.log.visible_seq, self.random.randint(0, self.log.visible_seq)])
        reader = Reader(start, self.random.choice([1, 50, 300, 65536]), merge=self.random.random() < 0.7)
        self.readers.append(reader)
        self._connect(reader)

    async def leave(self) -> None:
        connected = [reader for reader in self.readers if reader.reading is not None]
        if connected:
            reader = self.random.choice(connected)
            assert reader.reading is not None
            reader.reading.__exit__(None, None, None)
            reader.reading = None

    async def come_back(self) -> None:
        away = [reader for reader in self.readers if reader.reading is None]
        if away:
            self._connect(self.random.choice(away))

    async def read(self) -> None:
        for reader in self.readers:
            if reader.reading is not None and self.random.random() < 0.5:
                await self._take(reader)

    async def evict(self) -> None:
        """The session sleeps and is read again, as after a long while."""
        if self.log.is_idle and not self.log.is_busy and not self.pending:
            self.house.live.remove(self.log.session.session_id)
            log = await self.house.live.open(self.log.session.session_id)
            assert log is not None
            self.log = log

    async def expire(self) -> None:
        """What is over is no longer kept word for word."""
        await self.house.store.journal.expire(retention_ms=0)

    async def crash(self) -> None:
        """The process dies, another one goes on; readers come back with their cursors."""
        for reader in self.readers:
            reader.reading = None
        for task in self.pending:
            task.cancel()
        await asyncio.gather(*self.pending, return_exceptions=True)
        before, session_id = self.house, self.log.session.session_id
        await before.kill()
        self.house = House(self.file, clock=before.clock, ids=before.ids)
        await self.house.open()
        await self.house.recover()
        log = await self.house.live.open(session_id)
        assert log is not None
        self.log = log
        for reader in self.readers:
            self._connect(reader)

    async def rest(self) -> None:
        await asyncio.sleep(self.random.choice([0, 0, 0.001]))

    # -- parts ----------------------------------------------------------------------------------

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self.pending.add(task)
        task.add_done_callback(self.pending.discard)

    def _connect(self, reader: Reader) -> None:
        reader.reading = self.house.read(self.log, reader.cursor, lag_bytes=reader.lag_bytes, merge=reader.merge)
        reader.reading.__enter__()

    async def _take(self, reader: Reader) -> None:
        assert reader.reading is not None
        runs = reader.reading.take()
        if runs is None:
            runs = await reader.reading.replay()
        for run in runs:
            frames = [(number, str(run.kind), frame) for number, frame in run.frames()]
            assert [number for number, _, _ in frames][-1] == run.last
            reader.told += frames

    async def settle(self) -> None:
        """Everything that has begun comes to its end."""
        if self.house.database._held is not None:
            self.house.database.let_go()
        while self.pending or self.log.is_busy:
            if self.stream is not None:
                self.stream.finish()
            await asyncio.sleep(0.001)
        for reader in self.readers:
            if reader.reading is None:
                self._connect(reader)
            assert reader.reading is not None
            while reader.reading.has_news:
                await self._take(reader)
            reader.reading.__exit__(None, None, None)


def text_until(frames: list[Frame], after: int, upto: int, kind: str) -> str:
    return "".join([frame["chunk"] for number, found, frame in frames if after < number <= upto and found == kind])


def facts(frames: list[Frame], after: int) -> list[Frame]:
    return [found for found in frames if found[0] > after and found[1] not in ("text", "thinking")]


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_every_reader_is_told_the_stored_text(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "RETRY_SECONDS", (0.001,) * 5)
    world = World(seed)
    await world.open()
    happen: list[Callable[[], Awaitable[None]]] = [
        *[world.say] * 8,
        *[world.read] * 8,
        *[world.rest] * 6,
        *[world.message] * 3,
        *[world.join, world.end_answer] * 2,
        world.leave,
        *[world.come_back] * 2,
        world.sweep,
        world.stall,
        world.cancel,
        world.evict,
    ]
    for _ in range(250):
        await world.random.choice(happen)()
    await world.settle()
    await compare(world)
    await world.house.close()


@pytest.mark.parametrize("seed", range(5))
async def test_after_crashes_and_after_the_retention_snapshots_make_up_for_what_is_gone(
    seed: int, tmp_path: Path
) -> None:
    world = World(seed, tmp_path / "hector.db")
    await world.open()
    happen: list[Callable[[], Awaitable[None]]] = [
        *[world.say] * 8,
        *[world.read] * 4,
        *[world.rest] * 6,
        *[world.message] * 3,
        *[world.sweep, world.end_answer] * 2,
        world.cancel,
        world.evict,
        world.expire,
    ]
    for _ in range(3):
        for lag_bytes in (50, 65536):
            reader = Reader(0, lag_bytes, merge=True)
            world.readers.append(reader)
            world._connect(reader)
        for _ in range(60):
            await world.random.choice(happen)()
        await world.crash()
    await world.settle()
    stored = await world.house.history.messages(world.log, before=2**62, limit=200)
    answers = {message.turn_id: message.content for message in stored if message.role == "assistant"}
    for reader in world.readers:
        numbers = [number for number, _, _ in reader.told]
        assert numbers == sorted(set(numbers)), "no number twice, none backwards, over all crashes"
        shown = {turn_id: text for turn_id, text in shown_by(reader).items() if text}
        assert shown == answers
    await world.house.close()


def shown_by(reader: Reader) -> dict[str, str]:
    """What a client shows of each turn: chunks appended, snapshots put in the place of what there is."""
    shown: dict[str, str] = {}
    current = ""
    for _, kind, frame in reader.told:
        if kind == "turn_started":
            current = frame["turn_id"]
        elif kind == "snapshot":
            shown[frame["turn_id"]] = frame["text"]
        elif kind == "text":
            shown[current] = shown.get(current, "") + frame["chunk"]
    return shown


async def compare(world: World) -> None:
    house, log = world.house, world.log
    await until(lambda: log.is_idle)
    house.live.remove(log.session.session_id)
    cold = await house.live.open(log.session.session_id)
    assert cold is not None
    assert cold.last_seq == log.last_seq or cold.last_seq <= log.last_seq
    truth = await frames_of(house.read(cold))
    numbers = [number for number, _, _ in truth]
    assert numbers == sorted(set(numbers))
    for reader in world.readers:
        told = [number for number, _, _ in reader.told]
        assert told == sorted(set(told)), "no number twice, none backwards"
        assert set(told) <= set(numbers), "nothing that is not in the journal"
        assert facts(reader.told, 0) == facts(truth, reader.start), "every fact, as it is stored"
        for number in told:
            for kind in ("text", "thinking"):
                assert text_until(reader.told, 0, number, kind) == text_until(truth, reader.start, number, kind)
        assert (told or [reader.start])[-1] == max([reader.start, *numbers])
    messages = await house.history.messages(cold, before=2**62, limit=200)
    answers = [message.content for message in messages if message.role == "assistant"]
    assert "".join(answers) == text_until(truth, 0, 10**9, "text"), "the journal and the messages agree"
    ends = [frame["turn_id"] for _, kind, frame in truth if kind == "turn_finished"]
    assert sorted(ends) == sorted(set(ends))
    assert set(ends) >= {turn.turn_id for turn in world.turns}, "one end for each accepted message"
