"""The runner: one turn at a time, each with exactly one end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from app.domain.errors import Conflict, QuotaExceeded, SessionOver, Unavailable
from app.domain.turn import TurnState, Usage
from app.events.log import SessionLog
from app.llm.base import LLMError, LLMTimeout
from app.storage import sessions
from app.turns.open_turn import OpenTurn
from tests.fixtures.house import House, frames_of, runs_of, until


async def kinds(house: House, log: SessionLog, after: int = 0) -> list[str]:
    """The facts of a session, in their order, with the status of what has one."""
    return [
        f"{kind} {frame['status']}" if "status" in frame else kind
        for _, kind, frame in await frames_of(house.read(log, after))
        if kind != "text"
    ]


async def queued(house: House, log: SessionLog, *texts: str) -> list[OpenTurn]:
    return [await house.start(log, text) for text in texts]


# -- how a turn ends ----------------------------------------------------------------------------


async def test_a_turn_that_completes_is_stored_with_its_text(house: House) -> None:
    log = await house.session()
    turn = await house.start(log, "Hi")
    stream = await house.llm.answering()
    stream.say("Hel", "lo")
    stream.finish(Usage(3, 2, "provider"))
    outcome = await turn.done
    assert (outcome.state, outcome.text) == (TurnState.COMPLETED, "Hello")
    stored = await house.stored(log, turn.turn_id)
    assert (stored.state, stored.usage) == (TurnState.COMPLETED, Usage(3, 2, "provider"))
    assert await house.texts(log) == [("user", "completed", "Hi"), ("assistant", "completed", "Hello")]
    assert (log.session.message_count, log.session.prompt_tokens, log.session.completion_tokens) == (2, 3, 2)
    assert await kinds(house, log) == ["turn_started", "turn_finished completed"]


async def test_an_answer_without_text_is_no_message(house: House) -> None:
    log = await house.session()
    outcome = await house.say(log, "Hi")
    assert (outcome.state, outcome.text, outcome.message_id) == (TurnState.COMPLETED, "", None)
    assert await house.texts(log) == [("user", "completed", "Hi")]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (LLMError("It is ill", detail="cough", status=500), "llm_error"),
        (LLMTimeout("It sleeps"), "llm_timeout"),
    ],
)
async def test_a_turn_whose_model_fails_keeps_what_it_said(house: House, failure: LLMError, reason: str) -> None:
    log = await house.session()
    turn = await house.start(log, "Hi")
    stream = await house.llm.answering()
    stream.say("Half")
    stream.fail(failure)
    outcome = await turn.done
    assert (outcome.state, outcome.reason, outcome.text) == (TurnState.FAILED, reason, "Half")
    assert outcome.failure is not None
    assert outcome.failure.message == str(failure)
    assert await house.texts(log) == [("user", "completed", "Hi"), ("assistant", "failed", "Half")]
    assert await kinds(house, log) == ["turn_started", "error", "turn_finished failed"]


async def test_our_own_fault_shows_no_internals(house: House, caplog: pytest.LogCaptureFixture) -> None:
    log = await house.session()
    turn = await house.start(log, "Hi")
    stream = await house.llm.answering()
    stream.fail(ZeroDivisionError("secret"))
    outcome = await turn.done
    assert (outcome.state, outcome.reason) == (TurnState.FAILED, "internal")
    assert "secret" not in str(outcome.failure)
    assert "secret" in caplog.text


async def test_a_cancelled_turn_keeps_what_it_said_and_hangs_up(house: House) -> None:
    log = await house.session()
    turn = await house.start(log, "Hi")
    stream = await house.llm.answering()
    stream.say("Half")
    await until(lambda: log.last_seq == 2)
    assert await house.stopping.cancel(log) is turn
    assert stream.is_stopped
    assert await house.texts(log) == [("user", "completed", "Hi"), ("assistant", "cancelled", "Half")]
    assert (await turn.done).reason == "cancelled"


async def test_a_second_cancel_changes_nothing(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    await house.llm.answering()
    first, second = await asyncio.gather(house.stopping.cancel(log), house.stopping.cancel(log, turn_id=turn.turn_id))
    assert (first, second) == (turn, turn)
    assert await house.stopping.cancel(log) is None
    assert await house.stopping.cancel(log, turn_id=turn.turn_id) is None
    assert await kinds(house, log) == ["turn_started", "turn_finished cancelled"]


async def test_nothing_is_cancelled_where_nothing_runs(house: House) -> None:
    assert await house.stopping.cancel(await house.session(), everything=True) is None


# -- one at a time ------------------------------------------------------------------------------


async def test_queued_messages_are_answered_in_their_order(house: House) -> None:
    log = await house.session()
    turns = await queued(house, log, "one", "two", "three")
    for number, answer in enumerate(("1", "2", "3"), 1):
        stream = await house.llm.answering(number)
        assert len(house.runner.running) == 1
        stream.say(answer)
        stream.finish()
    await asyncio.gather(*[turn.done for turn in turns])
    assert [text for _, _, text in await house.texts(log)] == ["one", "1", "two", "2", "three", "3"]
    assert house.llm.streams[2].messages()[1:] == [
        ("user", "one"),
        ("assistant", "1"),
        ("user", "two"),
        ("assistant", "2"),
        ("user", "three"),
    ]


async def test_messages_sent_at_once_are_all_answered_one_at_a_time(house: House) -> None:
    log = await house.session()
    turns = await asyncio.gather(*[house.start(log, f"m{number}") for number in range(5)])
    for number in range(1, 6):
        (await house.llm.answering(number)).finish()
    outcomes = await asyncio.gather(*[turn.done for turn in turns])
    assert {outcome.state for outcome in outcomes} == {TurnState.COMPLETED}
    assert (await kinds(house, log)).count("turn_started") == 5


async def test_a_queued_message_enters_the_history_when_its_turn_starts(house: House) -> None:
    log = await house.session()
    first, second = await queued(house, log, "one", "two")
    assert [text for _, _, text in await house.texts(log)] == ["one"]
    assert (await house.stored(log, second.turn_id)).state is TurnState.QUEUED
    assert log.session.message_count == 1
    (await house.llm.answering()).finish()
    await first.done
    (await house.llm.answering(2)).finish()
    await second.done
    assert log.session.message_count == 2


async def test_a_full_queue_refuses_and_a_free_place_is_taken_again(house: House) -> None:
    house.admission._max_queue = 2
    log = await house.session()
    await house.start(log, "running")
    places = await asyncio.gather(*[house.start(log, f"m{n}") for n in range(4)], return_exceptions=True)
    assert sum([isinstance(place, QuotaExceeded) and place.reason == "queue_full" for place in places]) == 2
    (await house.llm.answering()).finish()
    await house.llm.answering(2)
    await house.start(log, "again")


async def test_a_busy_session_may_reject_and_names_what_runs(house: House) -> None:
    log = await house.session()
    running = await house.start(log)
    with pytest.raises(Conflict) as caught:
        await house.start(log, on_busy="reject")
    assert caught.value.reason == "session_busy"
    assert caught.value.details == {"turn_id": running.turn_id}
    await house.stopping.cancel(log)
    await house.start(log, on_busy="reject")


async def test_a_replacing_message_cancels_the_open_turn_and_goes_before_the_queue(house: House) -> None:
    log = await house.session()
    first, waiting = await queued(house, log, "first", "waiting")
    (await house.llm.answering()).say("Half")
    replacing = await house.start(log, "replacing", on_busy="replace")
    assert (await first.done).reason == "replaced"
    for number in (2, 3):
        (await house.llm.answering(number)).finish()
    await asyncio.gather(replacing.done, waiting.done)
    assert [text for role, _, text in await house.texts(log) if role == "user"] == ["first", "replacing", "waiting"]


async def test_of_several_replacing_messages_the_newest_goes_first(house: House) -> None:
    log = await house.session()
    await house.start(log, "first")
    await house.llm.answering()
    turns = await asyncio.gather(*[house.start(log, f"r{n}", on_busy="replace") for n in range(3)])
    for number in range(2, 5):
        stream = await house.llm.answering(number)
        if not stream.is_stopped:
            stream.finish()
    await asyncio.gather(*[turn.done for turn in turns])
    assert (await kinds(house, log)).count("turn_started") == 4


async def test_cancelling_a_queued_turn_leaves_the_running_one_alone(house: House) -> None:
    log = await house.session()
    running, waiting, behind = await queued(house, log, "running", "waiting", "behind")
    assert await house.stopping.cancel(log, turn_id=waiting.turn_id) is waiting
    assert (await waiting.done).state is TurnState.CANCELLED
    (await house.llm.answering()).finish()
    (await house.llm.answering(2)).finish()
    assert {(await running.done).state, (await behind.done).state} == {TurnState.COMPLETED}
    assert [text for _, _, text in await house.texts(log)] == ["running", "behind"]


async def test_cancelling_everything_leaves_nothing_to_run(house: House) -> None:
    log = await house.session()
    turns = await queued(house, log, *[f"m{number}" for number in range(6)])
    await house.stopping.cancel(log, everything=True)
    outcomes = await asyncio.gather(*[turn.done for turn in turns])
    assert {outcome.state for outcome in outcomes} == {TurnState.CANCELLED}
    assert len(house.llm.streams) <= 1
    assert not log.is_busy


async def test_cancelling_everything_holds_also_when_the_running_turn_ends_meanwhile(house: House) -> None:
    log = await house.session()
    turns = await queued(house, log, *[f"m{number}" for number in range(6)])
    stream = await house.llm.answering()
    stream.finish()
    await house.stopping.cancel(log, everything=True)
    outcomes = await asyncio.gather(*[turn.done for turn in turns])
    assert [outcome.state for outcome in outcomes[1:]] == [TurnState.CANCELLED] * 5
    assert len(house.llm.streams) == 1


async def test_an_ended_session_refuses_and_a_stopping_server_too(house: House) -> None:
    log = await house.session()
    await house.endings.end(log)
    with pytest.raises(SessionOver):
        await house.start(log)
    other = await house.session()
    house.shutdown.begin()
    with pytest.raises(Unavailable) as caught:
        await house.start(other)
    assert caught.value.reason == "shutting_down"


# -- readers and their grace --------------------------------------------------------------------


async def test_a_turn_without_readers_is_cancelled_after_its_grace(house: House) -> None:
    log = await house.session()
    with house.read(log):
        turn = await house.start(log, grace_seconds=0.01)
        await house.llm.answering()
        await asyncio.sleep(0.03)
        assert not turn.done.done()
    assert (await turn.done).reason == "disconnected"


async def test_a_reader_that_comes_back_in_time_saves_the_turn(house: House) -> None:
    log = await house.session()
    with house.read(log):
        turn = await house.start(log, grace_seconds=0.02)
        stream = await house.llm.answering()
    with house.read(log):
        await asyncio.sleep(0.05)
        assert turn.stop is None
        stream.finish()
        assert (await turn.done).state is TurnState.COMPLETED


async def test_the_grace_of_nobody_begins_with_the_turn_and_zero_ends_it_at_once(house: House) -> None:
    log = await house.session()
    turn = await house.start(log, grace_seconds=0)
    assert (await turn.done).reason == "disconnected"


async def test_a_queued_turn_waits_without_readers_and_its_grace_begins_when_it_starts(house: House) -> None:
    log = await house.session()
    first = await house.start(log, "first")
    with house.read(log):
        second = await house.start(log, "second", grace_seconds=0)
    await asyncio.sleep(0.01)
    assert second.state is TurnState.QUEUED
    (await house.llm.answering()).finish()
    await first.done
    assert (await second.done).reason == "disconnected"


@pytest.mark.parametrize("options", [{"background": True, "grace_seconds": 0}, {"grace_seconds": None}])
async def test_a_background_turn_and_one_without_grace_go_on_alone(house: House, options: dict[str, Any]) -> None:
    log = await house.session()
    turn = await house.start(log, **options)
    stream = await house.llm.answering()
    with house.read(log):
        pass
    await asyncio.sleep(0.01)
    assert turn.stop is None
    stream.finish()
    assert (await turn.done).state is TurnState.COMPLETED


async def test_one_reader_of_two_leaving_begins_no_grace(house: House) -> None:
    log = await house.session()
    with house.read(log):
        with house.read(log):
            turn = await house.start(log, grace_seconds=0)
            await house.llm.answering()
        await asyncio.sleep(0.01)
        assert turn.stop is None


# -- shutdown -----------------------------------------------------------------------------------


async def test_at_shutdown_a_turn_may_end_within_the_grace(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    stream = await house.llm.answering()
    house.shutdown.begin()
    ending = asyncio.ensure_future(house.shutdown.finish(grace_seconds=10))
    stream.say("done")
    stream.finish()
    await ending
    assert (await turn.done).state is TurnState.COMPLETED


async def test_at_shutdown_the_rest_is_interrupted_and_the_queue_waits_for_the_next_process(house: House) -> None:
    log = await house.session()
    running, waiting = await queued(house, log, "running", "waiting")
    (await house.llm.answering()).say("Half")
    await until(lambda: log.tape is not None and log.tape.text() == "Half")
    house.shutdown.begin()
    await house.shutdown.finish(grace_seconds=0)
    outcome = await running.done
    assert (outcome.state, outcome.reason, outcome.text) == (TurnState.INTERRUPTED, "shutdown", "Half")
    assert (await house.stored(log, running.turn_id)).state is TurnState.INTERRUPTED
    assert (await house.stored(log, waiting.turn_id)).state is TurnState.QUEUED
    assert (len(house.runner.running), len(house.llm.streams)) == (0, 1)


async def test_during_shutdown_no_grace_runs(house: House) -> None:
    log = await house.session()
    with house.read(log):
        turn = await house.start(log, grace_seconds=0.01)
        stream = await house.llm.answering()
    house.shutdown.begin()
    await asyncio.sleep(0.03)
    assert turn.stop is None
    stream.finish()
    assert (await turn.done).state is TurnState.COMPLETED


# -- what readers are shown ---------------------------------------------------------------------


async def test_debug_lines_are_facts_that_stay(house: House) -> None:
    log = await house.session()
    turn = await house.start(log, debug=True)
    stream = await house.llm.answering()
    stream.say("four words of text")
    stream.finish()
    await turn.done
    shown = [frame["chunk"] for _, kind, frame in await frames_of(house.read(log)) if kind == "debug"]
    assert shown[0] == f"[Session: {log.session.session_id}]\n"
    assert [line.split(":")[0] for line in shown] == ["[Session", "[Message", "[Memory", "[Response"]


async def test_long_answers_reserve_their_numbers_before_they_are_used(house: House) -> None:
    log = await house.session()
    turn = await house.start(log)
    stream = await house.llm.answering()
    for _ in range(6):
        stream.say(*["x"] * 500)
        await until(lambda: not stream._ready)
        session = await house.database.read(partial(sessions.find, session_id=log.session.session_id))
        assert session is not None
        assert session.reserved_seq >= log.last_seq
    stream.finish()
    assert len((await turn.done).text) == 3000
    assert [run.kind for run in await runs_of(house.read(log, log.last_seq - 1))] == ["turn_finished"]
