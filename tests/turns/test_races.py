"""Two things at once: whoever wins, each turn has one end, each reader sees it, and nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.domain.errors import SessionOver, Unavailable
from app.domain.session import SessionStatus
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.llm.base import LLMError
from app.turns.open_turn import OpenTurn
from tests.fixtures.house import House, frames_of, until
from tests.fixtures.rows import count_rows


async def told(house: House, log: SessionLog, after: int = 0) -> list[str]:
    """What a reader is told, text joined."""
    found: list[str] = []
    for _, kind, frame in await frames_of(house.read(log, after)):
        word = f"{frame['turn_id']} {frame['status']}" if kind == "turn_finished" else kind
        if kind != "text":
            found.append(word)
    return found


async def begun(house: House, starting: Awaitable[OpenTurn]) -> asyncio.Future[OpenTurn]:
    """A start whose unit has been handed over and is held."""
    before = house.database.held
    task = asyncio.ensure_future(starting)
    await until(lambda: house.database.held > before)
    return task


# -- terminate ----------------------------------------------------------------------------------


async def test_terminate_while_the_start_is_being_written(house: House) -> None:
    log = await house.session()
    house.database.hold()
    starting = await begun(house, house.start(log))
    terminating = asyncio.ensure_future(house.terminations.terminate(log))
    await until(lambda: log.over is not None)
    house.database.let_go()
    receipt, turn = await asyncio.gather(terminating, starting)
    assert receipt.turn_id == turn.turn_id
    assert (await turn.done).reason == "session_terminated"
    assert await told(house, log) == [f"{turn.turn_id} cancelled", "session_terminated"]
    assert house.llm.streams == [], "a dead session asks no model"
    assert await count_rows(house.database, log.session.session_id) == {}


async def test_terminate_while_a_message_is_being_queued(house: House) -> None:
    log = await house.session()
    running = await house.start(log)
    await house.llm.answering()
    house.database.hold()
    joining = await begun(house, house.start(log, "second"))
    terminating = asyncio.ensure_future(house.terminations.terminate(log))
    await until(lambda: log.over is not None)
    house.database.let_go()
    with pytest.raises(SessionOver) as caught:
        await joining
    assert caught.value.reason == "session_terminated"
    await terminating
    assert await told(house, log) == [f"{running.turn_id} cancelled", "session_terminated"]
    assert await count_rows(house.database, log.session.session_id) == {}


async def test_terminate_while_a_queued_turn_is_starting(house: House) -> None:
    log = await house.session()
    first, second, third = [await house.start(log, text) for text in ("one", "two", "three")]
    stream = await house.llm.answering()
    first.done.add_done_callback(lambda _: house.database.hold())
    stream.finish()
    await until(lambda: house.database.held == 1)  # the start of the second
    terminating = asyncio.ensure_future(house.terminations.terminate(log))
    await until(lambda: house.database.held == 2)
    house.database.let_go()
    receipt = await terminating
    assert receipt.turn_id == second.turn_id
    ends = await told(house, log)
    assert ends == [f"{second.turn_id} cancelled", f"{third.turn_id} cancelled", "session_terminated"]
    assert {(await turn.done).reason for turn in (second, third)} == {"session_terminated"}


@pytest.mark.parametrize("first", ["finish", "terminate"])
async def test_terminate_while_the_end_is_being_written(house: House, first: str) -> None:
    log = await house.session()
    with house.read(log) as reading:
        turn = await house.start(log)
        stream = await house.llm.answering()
        stream.say("all of it")
        await until(lambda: log.last_seq == 2)
        house.database.hold()
        if first == "finish":
            stream.finish()
            await until(lambda: house.database.held == 1)
        terminating = asyncio.ensure_future(house.terminations.terminate(log))
        await until(lambda: house.database.held >= 1)
        stream.finish()
        house.database.let_go()
        receipt = await terminating
        found = [frame["status"] if kind == "turn_finished" else kind for _, kind, frame in await frames_of(reading)]
    assert found == ["cancelled", "session_terminated"]
    assert receipt.turn_id == turn.turn_id
    assert (await turn.done).reason == "session_terminated"
    await until(lambda: len(house.runner.running) == 0)
    assert await count_rows(house.database, log.session.session_id) == {}


async def test_terminate_tells_every_open_turn_the_running_one_first(house: House) -> None:
    log = await house.session()
    turns = [await house.start(log, text) for text in ("one", "two", "three")]
    stream = await house.llm.answering()
    stream.say("Half")
    await until(lambda: log.tape is not None and log.tape.text() == "Half")
    after = log.last_seq
    receipt = await house.terminations.terminate(log)
    assert stream.is_stopped
    frames = await frames_of(house.read(log, 0))
    assert [number for number, _, _ in frames] == list(range(after + 1, after + 5))
    assert [frame.get("turn_id") for _, _, frame in frames] == [*[turn.turn_id for turn in turns], None]
    assert frames[0][2]["message_id"] == turns[0].message_id
    assert receipt.last_seq == frames[-1][0]
    assert receipt.upstream_closed_ms is not None


async def test_a_terminated_session_is_dead_before_anything_is_written(house: House) -> None:
    log = await house.session()
    stream_turn = await house.start(log)
    stream = await house.llm.answering()
    house.database.hold()
    terminating = asyncio.ensure_future(house.terminations.terminate(log))
    await asyncio.sleep(0)
    assert stream.is_stopped
    with pytest.raises(SessionOver):
        await house.start(log)
    assert not terminating.done()
    house.database.let_go()
    await terminating
    assert (await stream_turn.done).state is TurnState.CANCELLED


async def test_terminate_is_true_here_also_when_it_cannot_be_written_and_is_written_later(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    await house.llm.answering()
    house.database.refuses = lambda unit: True
    with pytest.raises(Unavailable, match="stopped"):
        await house.terminations.terminate(log)
    assert (await turn.done).reason == "session_terminated"
    assert (await told(house, log))[-1] == "session_terminated"
    house.database.refuses = None
    await until(lambda: house.live.peek(log.session.session_id) is None)
    assert await count_rows(house.database, log.session.session_id) == {}
    assert await house.tombstones.find(log.session.session_id) is not None


async def test_a_model_that_does_not_hang_up_is_told_in_the_receipt(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.sessions.termination.UPSTREAM_CLOSE_SECONDS", 0.01)
    log = await house.session()
    await house.start(log)
    stream = await house.llm.answering()
    stream.hang_up.clear()
    receipt = await house.terminations.terminate(log)
    assert receipt.upstream_closed_ms is None
    stream.hang_up.set()


async def test_two_terminates_at_once_leave_one_tombstone(house: House) -> None:
    log = await house.session()
    results = await asyncio.gather(
        house.terminations.terminate(log), house.terminations.terminate(log), return_exceptions=True
    )
    assert not [result for result in results if isinstance(result, Exception) and not isinstance(result, SessionOver)]
    assert await count_rows(house.database, log.session.session_id) == {}


async def test_terminate_right_after_an_end_does_not_take_it_from_a_reader_who_has_not_seen_it(house: House) -> None:
    log = await house.session()
    with house.read(log) as reading:
        turn = await house.start(log)
        stream = await house.llm.answering()
        stream.say("all of it")
        stream.finish()
        await turn.done
        await until(lambda: not log.is_busy)
        await house.terminations.terminate(log)
        found = [frame["status"] if kind == "turn_finished" else kind for _, kind, frame in await frames_of(reading)]
    assert found == ["completed", "session_terminated"]


async def test_nor_does_one_from_a_reader_who_lags_behind_what_is_kept_for_all(tmp_path: Path) -> None:
    house = House(tmp_path / "hector.db", ring_bytes=100)
    await house.open()
    log = await house.session()
    with house.read(log, after=1) as reading:
        first = await house.start(log)
        stream = await house.llm.answering()
        stream.say("x" * 1000)
        await until(lambda: log.last_seq == 2)
        assert reading.take() is not None
        stream.fail(LLMError("It is ill"))
        await first.done
        await until(lambda: not log.is_busy)
        await house.start(log, "again")
        (await house.llm.answering(2)).say(*["y" * 500] * 4)
        await until(lambda: log.last_seq > 8)
        await house.terminations.terminate(log)
        found = [frame.get("status", kind) for _, kind, frame in await frames_of(reading)]
    assert found == ["error", "failed", "cancelled", "session_terminated"]
    await house.close()


# -- cancel, end, replace -----------------------------------------------------------------------


async def test_cancel_while_the_start_is_being_written(house: House) -> None:
    log = await house.session()
    house.database.hold()
    starting = await begun(house, house.start(log))
    cancelling = asyncio.ensure_future(house.stopping.cancel(log))
    await asyncio.sleep(0)
    house.database.let_go()
    turn = await starting
    assert await cancelling is turn
    assert (await turn.done).state is TurnState.CANCELLED
    assert house.llm.streams == []
    assert await told(house, log) == ["turn_started", f"{turn.turn_id} cancelled"]


@pytest.mark.parametrize("status", [SessionStatus.ENDED, SessionStatus.EXPIRED])
async def test_the_end_of_a_busy_session_waits_for_its_turns(house: House, status: SessionStatus) -> None:
    log = await house.session()
    turns = [await house.start(log, text) for text in ("one", "two")]
    await (house.endings.end(log) if status is SessionStatus.ENDED else house.endings.expire(log))
    assert (log.session.status, log.session.ending) == (SessionStatus.ACTIVE, status)
    with pytest.raises(SessionOver) as caught:
        await house.start(log)
    assert caught.value.reason == f"session_{status.value}"
    for number in (1, 2):
        (await house.llm.answering(number)).finish()
    await asyncio.gather(*[turn.done for turn in turns])
    await until(lambda: log.is_over)
    assert (await told(house, log))[-2:] == [f"{turns[1].turn_id} completed", "session_ended"]
    assert log.session.status is status


async def test_an_end_while_the_last_turn_is_just_over_is_written_once(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    stream = await house.llm.answering()
    house.database.hold()
    stream.finish()
    await until(lambda: house.database.held == 1)
    ending = asyncio.ensure_future(house.endings.end(log))
    await until(lambda: house.database.held == 2)
    house.database.let_go()
    await asyncio.gather(ending, turn.done)
    await until(lambda: log.is_over)
    assert await told(house, log) == ["turn_started", f"{turn.turn_id} completed", "session_ended"]
    stored = await house.stored(log, turn.turn_id)
    assert stored.state is TurnState.COMPLETED


async def test_an_end_while_a_message_is_being_accepted_waits_for_its_turn(house: House) -> None:
    log = await house.session()
    house.database.hold()
    starting = await begun(house, house.start(log))
    ending = asyncio.ensure_future(house.endings.end(log))
    await until(lambda: house.database.held == 2)
    house.database.let_go()
    turn = await starting
    await ending
    (await house.llm.answering()).finish()
    await turn.done
    await until(lambda: log.is_over)
    assert (await told(house, log))[-1] == "session_ended"


async def test_replace_while_the_open_turn_is_just_over(house: House) -> None:
    log = await house.session()
    first = await house.start(log, "first")
    stream = await house.llm.answering()
    house.database.hold()
    stream.finish()
    await until(lambda: house.database.held == 1)
    replacing = await begun(house, house.start(log, "second", on_busy="replace"))
    house.database.let_go()
    second = await replacing
    (await house.llm.answering(2)).finish()
    assert (await first.done).state is TurnState.COMPLETED
    assert (await second.done).state is TurnState.COMPLETED


async def test_a_caller_that_goes_away_does_not_take_its_message_along(house: House) -> None:
    log = await house.session()
    house.database.hold()
    starting = await begun(house, house.start(log))
    starting.cancel()
    await asyncio.wait([starting])
    house.database.let_go()
    stream = await house.llm.answering()
    stream.say("all the same")
    stream.finish()
    await until(lambda: not log.is_busy)
    assert [text for _, _, text in await house.texts(log)] == ["Hello", "all the same"]
    assert (await house.say(log, "again", "yes")).state is TurnState.COMPLETED


async def test_a_caller_that_goes_away_while_its_message_is_queued_does_not_take_it_along(house: House) -> None:
    log = await house.session()
    first = await house.start(log)
    await house.llm.answering()
    house.database.hold()
    joining = await begun(house, house.start(log, "second"))
    joining.cancel()
    await asyncio.wait([joining])
    house.database.let_go()
    (await house.llm.answering()).finish()
    await first.done
    (await house.llm.answering(2)).finish()
    await until(lambda: not log.is_busy)
    assert [text for _, _, text in await house.texts(log)] == ["Hello", "second"]


@pytest.mark.parametrize("many", [2, 7])
async def test_whatever_comes_together_every_turn_has_one_end(house: House, many: int) -> None:
    log = await house.session()
    calls: list[Callable[[], Awaitable[object]]] = []
    for number in range(many):
        calls += [
            lambda n=number: house.start(log, f"m{n}"),  # type: ignore[misc]
            lambda n=number: house.start(log, f"r{n}", on_busy="replace"),  # type: ignore[misc]
            lambda: house.stopping.cancel(log, wait_seconds=0),
            lambda: house.stopping.cancel(log, everything=True, wait_seconds=0),
        ]
    results = await asyncio.gather(*[call() for call in calls], house.endings.end(log), return_exceptions=True)
    assert not [r for r in results if isinstance(r, Exception) and not isinstance(r, SessionOver)]
    answered = 0
    while not log.is_over:
        for stream in house.llm.streams[answered:]:
            answered += 1
            stream.finish()
        await asyncio.sleep(0.001)
    facts = await told(house, log)
    ends = [word.split()[0] for word in facts if word.startswith("turn_0")]
    turns = {turn.turn_id for turn in results if isinstance(turn, OpenTurn)}
    assert sorted(ends) == sorted(set(ends)), "one end each"
    assert set(ends) == turns
    assert facts[-1] == "session_ended"
