"""After a crash: what ran is interrupted with its text, what waited goes on, and no number comes twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.domain.event import EventKind
from app.domain.session import SessionStatus
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.house import House, frames_of, until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hector.db"


async def opened(file: Path, before: House | None = None) -> House:
    house = House(file, clock=before.clock if before else None, ids=before.ids if before else None)
    await house.open()
    return house


async def journaled(house: House, log: SessionLog) -> None:
    house.store.journal.write(log)
    await house.database.submit(UnitOfWork(log.session.session_id))


async def warm(house: House, log: SessionLog) -> SessionLog:
    found = await house.live.open(log.session.session_id)
    assert found is not None
    return found


async def test_a_running_turn_is_interrupted_with_the_text_that_was_kept(file: Path) -> None:
    house = await opened(file)
    log = await house.session()
    turn = await house.start(log)
    stream = await house.llm.answering()
    stream.say("kept ")
    await until(lambda: log.last_seq == 2)
    await journaled(house, log)
    stream.say("lost")
    await until(lambda: log.last_seq == 3)
    seen = await frames_of(house.read(log))
    await house.kill()

    after = await opened(file, house)
    assert await after.recover() == 1
    found = await warm(after, log)
    stored = await after.stored(found, turn.turn_id)
    assert (stored.state, stored.reason) == (TurnState.INTERRUPTED, "crash")
    assert await after.texts(found) == [("user", "completed", "Hello"), ("assistant", "interrupted", "kept ")]
    # A reader that saw everything is told what to show instead, in numbers it has not seen.
    told = await frames_of(after.read(found, seen[-1][0]))
    assert [kind for _, kind, _ in told] == ["snapshot", "turn_finished"]
    assert told[0][2]["text"] == "kept "
    assert told[0][0] > seen[-1][0]
    assert (told[1][2]["status"], told[1][2]["message_id"]) == ("interrupted", turn.message_id)
    # A new reader gets the text that was kept, and the snapshot says the same.
    fresh = await frames_of(after.read(found))
    assert [kind for _, kind, _ in fresh] == ["turn_started", "text", "snapshot", "turn_finished"]
    await after.close()


async def test_numbers_go_on_above_everything_a_reader_may_have_seen(file: Path) -> None:
    house = await opened(file)
    log = await house.session()
    await house.start(log)
    stream = await house.llm.answering()
    for _ in range(3):
        stream.say(*["x"] * 700)
        await until(lambda: not stream._ready)
    await until(lambda: log.last_seq == 2101)
    seen = log.last_seq
    await house.kill()
    after = await opened(file, house)
    await after.recover()
    found = await warm(after, log)
    assert found.last_seq > seen
    answer = await after.say(found, "go on", "yes")
    assert answer.state is TurnState.COMPLETED
    numbers = [number for number, _, _ in await frames_of(after.read(found, seen))]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > seen
    await after.close()


async def test_a_turn_without_text_leaves_no_message(file: Path) -> None:
    house = await opened(file)
    log = await house.session()
    await house.start(log)
    await house.kill()
    after = await opened(file, house)
    assert await after.recover() == 1
    found = await warm(after, log)
    assert await after.texts(found) == [("user", "completed", "Hello")]
    assert (await frames_of(after.read(found)))[-1][2]["message_id"] is None
    await after.close()


async def test_queued_turns_start_again_in_their_order_over_several_crashes(file: Path) -> None:
    house = await opened(file)
    log = await house.session()
    for text in ("running", "one", "two"):
        await house.start(log, text)
    await house.start(log, "first of all", on_busy="replace")
    await house.kill()

    second = await opened(file, house)
    second.shutdown.begin()  # nothing starts in this life
    await second.recover()
    await second.kill()

    third = await opened(file, house)
    await third.recover()
    found = await warm(third, log)
    await third.start(found, "three")
    for number in range(1, 5):
        (await third.llm.answering(number)).finish()
    await until(lambda: not found.is_busy)
    asked = [text for role, _, text in await third.texts(found) if role == "user"]
    assert asked in (["running", "first of all", "one", "two", "three"], ["first of all", "one", "two", "three"])
    await third.close()


async def test_an_end_that_waited_for_its_turn_comes_after_the_restart(file: Path) -> None:
    house = await opened(file)
    log = await house.session()
    await house.start(log)
    await house.endings.end(log)
    await house.kill()
    after = await opened(file, house)
    await after.recover()
    found = await warm(after, log)
    await until(lambda: found.is_over)
    assert found.session.status is SessionStatus.ENDED
    assert [kind for _, kind, _ in await frames_of(after.read(found))][-2:] == ["turn_finished", "session_ended"]
    await after.close()


async def test_an_end_waits_for_a_queued_turn_of_the_process_before(file: Path) -> None:
    house = await opened(file)
    log = await house.session()
    await house.start(log, "running")
    await house.start(log, "waiting")
    await house.endings.end(log)
    await house.kill()
    after = await opened(file, house)
    await after.recover()
    found = await warm(after, log)
    stream = await after.llm.answering()
    assert found.session.status is SessionStatus.ACTIVE
    stream.finish()
    await until(lambda: found.is_over)
    assert [kind for _, kind, _ in await frames_of(after.read(found))][-2:] == ["turn_finished", "session_ended"]
    await after.close()


async def test_a_second_recovery_finds_nothing_to_do(file: Path) -> None:
    house = await opened(file)
    log = await house.session()
    await house.start(log)
    await house.kill()
    counts = []
    for _ in range(2):
        house = await opened(file, house)
        counts.append(await house.recover())
        await house.close()
    assert counts == [1, 0]


async def test_the_model_is_told_that_an_answer_was_cut_off(file: Path) -> None:
    house = await opened(file)
    log = await house.session()
    await house.start(log)
    (await house.llm.answering()).say("Half an")
    await until(lambda: log.last_seq == 2)
    await journaled(house, log)
    await house.kill()
    after = await opened(file, house)
    await after.recover()
    found = await warm(after, log)
    await after.say(found, "go on", "answer")
    role, content = after.llm.streams[0].messages()[2]
    assert role == "assistant"
    assert content.startswith("Half an")
    assert "restart" in content
    await after.close()


async def test_a_terminated_session_stays_dead(file: Path) -> None:
    house = await opened(file)
    log = await house.session("mine")
    await house.start(log)
    await house.llm.answering()
    await house.terminations.terminate(log)
    await house.kill()
    after = await opened(file, house)
    assert await after.recover() == 0
    assert await after.live.open("mine") is None
    assert await after.tombstones.find("mine") is not None
    await after.close()


async def test_facts_shown_before_their_commit_are_covered_too(file: Path) -> None:
    """Debug lines are shown at once and stored with the end: their numbers must not come again."""
    house = await opened(file)
    log = await house.session()
    await house.start(log, debug=True)
    await house.llm.answering()
    seen = await frames_of(house.read(log))
    assert seen[-1][1] == EventKind.DEBUG
    await house.kill()
    after = await opened(file, house)
    await after.recover()
    found = await warm(after, log)
    told = await frames_of(after.read(found, seen[-1][0]))
    assert [kind for _, kind, _ in told] == ["snapshot", "turn_finished"]
    await asyncio.gather(after.close())
