"""Every turn ends, whatever fails while its end is made or written: readers are told once, and the session goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.domain.turn import Outcome, TurnState, Usage
from app.events.log import SessionLog
from app.turns import finish
from app.turns.open_turn import OpenTurn
from tests.fixtures.hand_llm import HandStream
from tests.fixtures.house import House, frames_of, until


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("secret")


async def begun(house: House, log: SessionLog, number: int = 1) -> tuple[OpenTurn, HandStream]:
    """A turn that has said its text and is about to end."""
    turn = await house.start(log, f"question {number}")
    stream = await house.llm.answering(number)
    stream.say("Hel", "lo")
    await until(lambda: log.last_seq >= turn.started_seq + 2)
    return turn, stream


async def answered(house: House, log: SessionLog, number: int = 1, usage: Usage | None = None) -> Outcome:
    turn, stream = await begun(house, log, number)
    stream.finish(usage)
    outcome = await turn.done
    await until(lambda: not log.is_busy)
    return outcome


async def ends(house: House, log: SessionLog, after: int = 0) -> list[str]:
    """The status of each turn that ended, as a reader is told it now."""
    return [frame["status"] for _, kind, frame in await frames_of(house.read(log, after)) if kind == "turn_finished"]


async def answers(house: House, log: SessionLog) -> list[tuple[str, str]]:
    return [(status, content) for role, status, content in await house.texts(log) if role == "assistant"]


# what fails, and whether the answer's text is stored all the same
FAULTS = {
    "app.turns.finish.timings_of": True,
    "app.turns.finish.add_usage": True,
    "app.turns.checkpoint.events.add_run": True,
    "app.events.tape.Segment.character_lengths": True,
    "app.turns.finish.messages.add": False,
    "app.turns.finish.turns.add_finish": False,
    "app.events.tape.Tape.text": False,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_in_the_end_of_a_turn_ends_it_as_ours(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    log = await house.session()
    with house.read(log) as reading:
        turn, stream = await begun(house, log)
        monkeypatch.setattr(fault, fail)
        stream.finish(Usage(1, 2, "provider"))
        outcome = await turn.done
        await until(lambda: not log.is_busy)
        found = [kind for _, kind, _ in await frames_of(reading)]
    assert (outcome.state, outcome.reason) == (TurnState.FAILED, "internal")
    assert found[-2:] == ["error", "turn_finished"]
    assert found.count("turn_finished") == 1
    assert "secret" in caplog.text
    monkeypatch.undo()
    assert (await answered(house, log, 2)).state is TurnState.COMPLETED
    assert await ends(house, log) == ["failed", "completed"]
    log.drop_tail()
    assert await ends(house, log) == ["failed", "completed"], "who comes later is told the same"
    assert await answers(house, log) == [*([("failed", "Hello")] if FAULTS[fault] else []), ("completed", "Hello")]
    stored = await house.stored(log, turn.turn_id)
    assert (stored.state, stored.reason) == (TurnState.FAILED, "internal")


@pytest.mark.parametrize(
    "fault",
    [
        "app.turns.step.count_usage",
        "app.turns.runner.add_usage",
        "app.turns.summaries.Summaries.consider",
        "app.turns.memory.TurnMemory.settle",
        "app.turns.finish.entry",
    ],
)
async def test_a_fault_beside_the_end_of_a_turn_changes_nothing_of_it(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    log = await house.session(ephemeral=fault == "app.turns.runner.add_usage")
    with house.read(log) as reading:
        turn, stream = await begun(house, log)
        monkeypatch.setattr(fault, fail)
        stream.finish()
        assert (await turn.done).state is TurnState.COMPLETED
        await until(lambda: not log.is_busy)
        found = [kind for _, kind, _ in await frames_of(reading)]
    assert found == ["turn_started", "text", "text", "turn_finished"]
    assert "secret" in caplog.text
    assert (await answered(house, log, 2)).state is TurnState.COMPLETED, "although the fault is still there"
    assert await ends(house, log) == ["completed", "completed"]


async def test_turn_after_turn_ends_although_no_end_can_be_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await house.session()
    monkeypatch.setattr("app.turns.finish.turns.add_finish", fail)
    for number in (1, 2, 3):
        assert (await answered(house, log, number)).reason == "internal"
    monkeypatch.undo()
    await answered(house, log, 4)
    assert await ends(house, log) == ["failed", "failed", "failed", "completed"]
    log.drop_tail()
    assert await ends(house, log) == ["failed", "failed", "failed", "completed"]


async def test_a_queued_turn_whose_start_fails_by_our_fault_ends_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await house.session()
    turn, stream = await begun(house, log)
    waiting = await house.start(log, "second")
    monkeypatch.setattr("app.turns.begin.begin_queued", fail)
    stream.finish()
    assert (await turn.done).state is TurnState.COMPLETED
    assert (await waiting.done).reason == "internal"
    await until(lambda: not log.is_busy)
    monkeypatch.undo()
    assert (await answered(house, log, 2)).state is TurnState.COMPLETED
    assert await ends(house, log) == ["completed", "failed", "completed"]


@pytest.mark.parametrize("name", ["begin_at_once", "enqueue"])
async def test_a_message_that_cannot_be_taken_by_our_fault_leaves_the_session_free(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    log = await house.session()
    running = await begun(house, log) if name == "enqueue" else None
    monkeypatch.setattr(f"app.turns.begin.{name}", fail)
    with pytest.raises(ZeroDivisionError):
        await house.start(log, "second")
    monkeypatch.undo()
    if running is not None:
        running[1].finish()
        await running[0].done
    await until(lambda: not log.is_busy)
    await answered(house, log, 2 if running else 1)
    assert set(await ends(house, log)) == {"completed"}


STRANGE: list[Any] = [-1, 2**31 * 2**31 * 4, 2**70, True, 2.5, float("inf"), float("nan"), "7", [1], {"a": 1}]


@pytest.mark.parametrize("count", STRANGE, ids=str)
async def test_strange_counts_end_a_turn_like_any_other(house: House, count: Any) -> None:
    """Providers' are refused where they are read (tests/llm); this is the last line."""
    log = await house.session()
    turn, stream = await begun(house, log)
    stream.finish(Usage(count, 1, "provider"))
    outcome = await turn.done
    await until(lambda: not log.is_busy)
    assert outcome.state in (TurnState.COMPLETED, TurnState.FAILED)
    assert [content for _, content in await answers(house, log)] == ["Hello"]
    assert (await answered(house, log, 2)).state is TurnState.COMPLETED
    assert len(await ends(house, log)) == 2


# -- and after a restart --------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hector.db"


async def opened(file: Path, before: House | None = None) -> House:
    house = House(file, clock=before.clock if before else None, ids=before.ids if before else None)
    await house.open()
    return house


async def after_a_crash(house: House, file: Path, session_id: str) -> tuple[House, SessionLog]:
    await house.kill()
    after = await opened(file, house)
    await after.recover()
    log = await after.live.open(session_id)
    assert log is not None
    return after, log


@pytest.mark.parametrize("problem", ["the disk is full", "our fault"])
async def test_a_reader_that_was_told_an_end_is_told_no_other_after_a_crash(
    file: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    monkeypatch.setattr(finish, "RETRY_SECONDS", (0.001,))
    house = await opened(file)
    log = await house.session("mine")
    with house.read(log) as reading:
        turn, stream = await begun(house, log)
        if problem == "our fault":
            monkeypatch.setattr("app.turns.finish.turns.add_finish", fail)
        else:
            house.database.refuses = lambda unit: True
        stream.finish()
        await turn.done
        seen = await frames_of(reading)
    assert [kind for _, kind, _ in seen] == ["turn_started", "text", "text", "error", "turn_finished"]
    monkeypatch.undo()
    after, found = await after_a_crash(house, file, "mine")
    for cursor, _, _ in seen[-2:]:
        assert len(await ends(after, found, cursor)) == (1 if cursor == seen[-2][0] else 0)
    for cursor, _, _ in seen[:-2]:
        told = [kind for _, kind, _ in await frames_of(after.read(found, cursor))]
        assert told[-2:] == ["snapshot", "turn_finished"], "who was told no end is told one"
    assert (await after.stored(found, turn.turn_id)).state is TurnState.INTERRUPTED
    assert (await answered(after, found)).state is TurnState.COMPLETED
    assert await ends(after, found, seen[-1][0]) == ["completed"]
    await after.close()


async def test_a_reader_that_was_told_of_a_termination_that_died_with_the_process_is_told_no_second_end(
    file: Path,
) -> None:
    house = await opened(file)
    log = await house.session("mine")
    with house.read(log) as reading:
        await begun(house, log)
        house.database.refuses = lambda unit: True
        await asyncio.gather(house.terminations.terminate(log), return_exceptions=True)
        seen = await frames_of(reading)
    assert [kind for _, kind, _ in seen][-2:] == ["turn_finished", "session_terminated"]
    after, found = await after_a_crash(house, file, "mine")
    assert await ends(after, found, seen[-1][0]) == await ends(after, found, seen[-2][0]) == []
    assert await ends(after, found) == ["interrupted"]
    await after.close()


async def test_a_start_that_fails_to_keep_the_text_of_a_turn_ends_it_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house = await opened(file)
    await begun(house, await house.session("mine"))
    monkeypatch.setattr("app.turns.recovery.events.text_of_turn", fail)
    after, found = await after_a_crash(house, file, "mine")
    assert "secret" in caplog.text
    assert await ends(after, found) == ["interrupted"]
    assert (await answered(after, found)).state is TurnState.COMPLETED
    await after.close()


async def test_a_turn_that_no_start_can_end_does_not_keep_the_session_from_going_on(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await opened(file)
    turn, _ = await begun(house, await house.session("mine"))
    monkeypatch.setattr("app.turns.recovery.turns.add_finish", fail)
    after, found = await after_a_crash(house, file, "mine")
    monkeypatch.undo()
    assert (await answered(after, found)).state is TurnState.COMPLETED
    assert (await after.stored(found, turn.turn_id)).state is TurnState.FAILED
    await after.close()


async def test_a_queued_turn_whose_cancelling_cannot_be_stored_is_told_to_nobody(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may run after a restart: its reader is told one end, whichever comes true."""
    monkeypatch.setattr(finish, "RETRY_SECONDS", (0.001,))
    monkeypatch.setattr(finish, "PATIENT_RETRY_SECONDS", 0.001)
    house = await opened(file)
    log = await house.session("mine")
    with house.read(log) as reading:
        _, stream = await begun(house, log)
        waiting = await house.start(log, "second")
        house.database.refuses = lambda unit: True
        stream.finish()
        await house.stopping.cancel(log, turn_id=waiting.turn_id, wait_seconds=0.05)
        assert not waiting.done.done()
        seen = await frames_of(reading)
    assert [frame["turn_id"] for _, kind, frame in seen if kind == "turn_finished"] != [waiting.turn_id]
    after, found = await after_a_crash(house, file, "mine")
    (await after.llm.answering()).finish()
    await until(lambda: not found.is_busy)
    told = [frame for _, kind, frame in await frames_of(after.read(found, reading.cursor)) if kind == "turn_finished"]
    assert [(frame["turn_id"], frame["status"]) for frame in told] == [(waiting.turn_id, "completed")]
    await after.close()
