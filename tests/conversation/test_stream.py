"""The stream of a reader behind any door: all of its turn, in order, once; a silence, a shutdown and a leaving."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from app.conversation.conversation import Conversation, Sending
from app.conversation.stream import Later, Silence, leave, stream
from app.conversation.view import View
from app.domain.errors import Unavailable
from app.events.follow import Reading
from app.events.run import Run
from app.events.tape import Tape
from app.turns.open_turn import OpenTurn
from tests.fixtures.house import ALICE, House, until


@dataclass
class Seen:
    """What one reader was given."""

    conversation: Conversation
    reading: Reading
    parts: list[list[Run] | Silence | Later] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [run.kind.value for part in self.parts if isinstance(part, list) for run in part]

    @property
    def text(self) -> str:
        runs = [run for part in self.parts if isinstance(part, list) for run in part]
        return "".join([frame["chunk"] for run in runs if run.kind == "text" for _, frame in run.frames()])


@pytest.fixture
async def house() -> AsyncIterator[House]:
    opened = House()
    await opened.open()
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def reader(house: House) -> AsyncIterator[tuple[Seen, asyncio.Task[None]]]:
    """Someone who sends a message and reads its turn in a task."""
    stop_signal = asyncio.get_running_loop().create_future()
    conversation = Conversation(
        house.built, house.roster, max_message=100, heartbeat_seconds=12, stop_signal=stop_signal
    )
    following = await conversation.send(ALICE, "assistant", await house.session(), Sending("Hi"))
    with following:
        turn = await following.start()
        seen = Seen(conversation, following.reading)

        async def read() -> None:
            async for part in stream(conversation, following.reading, following.view(turn)):
                seen.parts.append(part)

        task = asyncio.create_task(read())
        yield seen, task
        task.cancel()


async def test_a_reader_is_given_its_turn_to_the_end(house: House) -> None:
    async with reader(house) as (seen, task):
        model = await house.llm.answering()
        for word in ("one ", "two ", "three"):
            model.say(word)
            await asyncio.sleep(0)
        model.finish()
        await task
    assert (seen.kinds[0], seen.kinds[-1], seen.text) == ("turn_started", "turn_finished", "one two three")
    assert len(seen.conversation.readers) == 0


async def test_a_silent_model_is_told_with_its_phase(house: House) -> None:
    async with reader(house) as (seen, _):
        await house.llm.answering()
        await until(lambda: seen.kinds == ["turn_started"])
        seen.reading.notify()
        await until(lambda: len(seen.parts) == 2)
    silence = seen.parts[-1]
    assert isinstance(silence, Silence)
    assert silence.phase["phase"] == "model"


async def test_a_shutdown_tells_the_cursor_to_come_back_with(house: House) -> None:
    async with reader(house) as (seen, task):
        model = await house.llm.answering()
        model.say("half")
        await until(lambda: seen.text == "half")
        seen.conversation.readers.stop()
        await task
    assert seen.parts[-1] == Later(seen.reading.cursor)


async def test_a_reader_that_left_is_given_nothing_more(house: House) -> None:
    async with reader(house) as (seen, task):
        await house.llm.answering()
        await until(lambda: seen.kinds == ["turn_started"])
        leave(seen.reading)
        await task
    assert seen.kinds == ["turn_started"]


async def test_events_that_cannot_be_read_now_are_for_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_reading: Reading) -> list[Run]:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(Reading, "take", lambda _reading: None)
    monkeypatch.setattr(Reading, "replay", fails)
    async with reader(house) as (seen, task):
        await task
    assert seen.parts == [Later(seen.reading.cursor)]


@contextlib.asynccontextmanager
async def lagging(house: House) -> AsyncIterator[tuple[Seen, OpenTurn, View]]:
    """Someone who took the beginning of an answer, which is over, and nothing since."""
    stop_signal = asyncio.get_running_loop().create_future()
    conversation = Conversation(
        house.built, house.roster, max_message=100, heartbeat_seconds=12, stop_signal=stop_signal
    )
    session_log = await house.session()
    following = await conversation.send(ALICE, "assistant", session_log, Sending("Hi"))
    with following:
        turn = await following.start()
        assert isinstance(turn, OpenTurn)
        model = await house.llm.answering()
        model.say("The beginning. ")
        await until(lambda: session_log.tape is not None and bool(session_log.tape.items))
        assert session_log.tape is not None
        following.reading.cursor = session_log.tape.items[0].first - 1
        assert following.reading.take()
        for number in range(50):
            model.say(f"{number} " + "x" * 20)
            await asyncio.sleep(0)
        following.reading.rest()
        assert len(tapes()) == 1, "the turn goes on"
        model.finish()
        await until(lambda: session_log.tape is None)
        yield Seen(conversation, following.reading), turn, following.view(turn)


@pytest.fixture
async def small_ring() -> AsyncIterator[House]:
    house = House(ring_bytes=100)
    await house.open()
    yield house
    await house.close()


def tapes() -> list[Tape]:
    """Those with text."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Tape) and one.is_whole and one.items]


async def test_a_reader_that_takes_nothing_keeps_no_text_of_a_turn_that_is_over(small_ring: House) -> None:
    async with lagging(small_ring) as (seen, turn, view):
        assert len(tapes()) == 1, "a reader that only lags is given the rest from it"
        seen.reading.rest()
        assert tapes() == []
        seen.reading.cursor = turn.after
        async for part in stream(seen.conversation, seen.reading, view):
            seen.parts.append(part)
        assert seen.text == turn.done.result().text
    assert seen.kinds[-1] == "turn_finished"


async def test_a_terminate_tells_such_a_reader_the_end_of_its_turn(small_ring: House) -> None:
    async with lagging(small_ring) as (seen, _, view):
        seen.reading.rest()
        await small_ring.built.terminations.terminate(seen.reading.log)
        async for part in stream(seen.conversation, seen.reading, view):
            seen.parts.append(part)
    assert seen.kinds == ["turn_finished", "session_terminated"]
