"""Summaries at work: beside the turns, inside one only if it must be, and never in the way of an answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.domain.summary import Summary
from app.domain.turn import TurnState, Usage
from app.events.log import SessionLog
from app.llm.base import LLMError
from app.memory.working import Entry, calls_entry, entry, tool_entry
from app.storage import messages, summaries, tables
from app.storage.engine.unit_of_work import UnitOfWork
from app.turns import summaries as turns_summaries
from tests.fixtures.hand_llm import HandLLM
from tests.fixtures.house import ALICE, House, frames_of, until

BUDGET = 150  # a token is a word here, and a message costs four more
WORDS = " ".join(["word"] * 26)
"""A message of about 30."""
Make = Callable[..., Any]


class Hall(House):
    """A house whose summaries are written by a model of their own."""

    def __init__(self, file: Path, **working: Any) -> None:
        self.writer = HandLLM()
        working = {"budget": BUDGET, **working}
        agent = {"memory": {"working": working}, "prompt": {"system_prompt": "Be brief."}}
        super().__init__(file, agent=agent, summarizer=self.writer)

    async def exchange(self, log: SessionLog, number: int) -> None:
        await self.say(log, f"q{number} {WORDS}"[: len(WORDS)], f"a{number} {WORDS}"[: len(WORDS)])

    async def write(self, text: str, number: int) -> None:
        """Answer the summary that is asked for as number so and so."""
        stream = await self.writer.answering(number)
        stream.say(text)
        stream.finish(Usage(100, 10, "provider"))

    async def summarize(self, text: str, number: int = 1) -> None:
        """The same, and wait until it is kept."""
        await self.write(text, number)
        await self.summaries.settled()

    @property
    def told(self) -> list[str]:
        """The contents of the last request, system prompt first."""
        return [content for _, content in self.llm.streams[-1].messages()]

    async def rows(self, session_id: str) -> list[tuple[int, str]]:
        query = select(tables.summaries.c.upto_seq, tables.summaries.c.text).where(
            tables.summaries.c.session_id == session_id
        )
        return [tuple(row) for row in await self.database.read(lambda connection: connection.execute(query).all())]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Hall] = []

    async def make(**working: Any) -> Hall:
        hall = Hall(tmp_path / "hector.db", **working)
        made.append(hall)
        await hall.open()
        return hall

    yield make
    for hall in made:
        await hall.close()


async def summary_frames(hall: Hall, log: SessionLog) -> list[dict[str, Any]]:
    return [frame for _, kind, frame in await frames_of(hall.read(log)) if kind == "summary"]


async def test_below_the_threshold_no_model_is_asked(make: Make) -> None:
    hall = await make()
    log = await hall.session()
    await hall.exchange(log, 0)
    await hall.say(log, "Bye", "Bye")
    assert hall.writer.streams == []
    assert await summary_frames(hall, log) == []


async def test_a_budget_too_small_for_a_summary_is_a_window(make: Make) -> None:
    hall = await make(budget=80)
    log = await hall.session()
    for number in range(3):
        await hall.exchange(log, number)
    await hall.say(log, "Next", "Yes")
    assert hall.writer.streams == []
    assert [content[:2] for content in hall.told[1:]] == ["q2", "a2", "Ne"]
    frames = await summary_frames(hall, log)
    assert [(frame["status"], frame["left_out"]) for frame in frames] == [
        ("left_out", 2),
        ("left_out", 4),
        ("left_out", 4),
    ]


async def test_a_window_without_summaries_moves_on_by_leaps_so_that_models_meet_what_they_have_read(make: Make) -> None:
    hall = await make(budget=100, target=0.5)
    log = await hall.session()
    firsts = []
    for number in range(12):
        await hall.say(log, f"question {number}", f"answer {number}")
        firsts.append(hall.told[1])
    assert len(hall.told) > 4
    leaps = sum([before != after for before, after in itertools.pairwise(firsts)])
    assert 1 <= leaps <= 3, firsts


async def test_a_turn_that_crosses_it_is_summed_up_afterwards_and_the_next_is_told(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session()
    await hall.exchange(log, 0)
    await hall.exchange(log, 1)
    stream = await hall.writer.answering()
    assert "User: q0" in stream.messages()[1][1]
    assert "q1" not in stream.messages()[1][1], "the last exchange stays word for word"
    await hall.summarize("Ann likes words.")
    await hall.say(log, "Next", "Yes")
    assert hall.told[0] == (
        "Be brief.\n\n<summary>\nEarlier in this conversation, condensed:\nAnn likes words.\n</summary>"
    )
    assert [content[:2] for content in hall.told[1:]] == ["q1", "a1", "Ne"]
    [frame] = await summary_frames(hall, log)
    assert (frame["status"], frame["upto"]) == ("used", log.desk.summary.upto_seq)
    assert "left_out" not in frame


def used_tool(log: SessionLog, *, words: int) -> list[Entry]:
    """A step and its answer, put into the window as if a turn had made them; the result is `words` long."""
    seq = log.last_seq
    result = tool_entry("1", "look", " ".join(["thing"] * words), "m2", seq, handle="res_1")
    made = [calls_entry("", [("1", "look", "{}")], "m1", seq), result, entry("assistant", "Seen.", "m3", seq)]
    assert log.desk is not None
    log.desk.window[-1:] = made  # type: ignore[attr-defined]
    return made


async def test_old_results_give_way_before_anything_is_summed_up(make: Make) -> None:
    hall = await make()
    log = await hall.session()
    await hall.say(log, "Look", "Seen.")
    used_tool(log, words=200)
    await hall.say(log, "Next", "Yes")
    line = '[result of look was removed to save room: 1199 characters; read_result("res_1") gives it back]'
    assert hall.told == ["Be brief.", "Look", "", line, "Seen.", "Next"]
    assert hall.writer.streams == []
    assert await summary_frames(hall, log) == []
    assert log.desk.window[2].text() == line, "it stays so"


async def test_old_results_give_way_after_the_turn_that_crosses_the_threshold(make: Make) -> None:
    hall = await make()
    log = await hall.session()
    await hall.say(log, "Look", "Seen.")
    used_tool(log, words=100)
    await hall.say(log, "Next", "Yes")
    assert "thing thing" in hall.told[3], "it fitted"
    await hall.summaries.settled()
    assert log.desk.window[2].text().startswith("[result of look was removed")
    assert hall.writer.streams == []


async def test_a_step_is_summed_up_as_a_whole(make: Make) -> None:
    hall = await make()
    log = await hall.session()
    await hall.say(log, "Look", "Seen.")
    used_tool(log, words=20)
    await hall.exchange(log, 0)
    await hall.exchange(log, 1)
    said = (await hall.writer.answering()).messages()[1][1]
    result = " ".join(["thing"] * 20)
    assert f"User: Look\nAssistant: [tool look({{}}): {result}]\nAssistant: Seen.\nUser: q0" in said
    await hall.write("They looked.", 1)
    await until(lambda: log.desk.summary is not None)
    assert not any(one.call_ids for one in log.desk.window)


async def test_the_turn_that_crosses_it_does_not_wait(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session()
    await hall.exchange(log, 0)
    await hall.exchange(log, 1)
    await hall.writer.answering()
    await hall.say(log, "Next", "Yes")
    assert len(hall.told) == 6, "while it fits, the next turn goes on without the summary"
    await hall.summarize("Ann likes words.")
    assert [content[:2] for content in (message.text() for message in log.desk.window)] == ["q1", "a1", "Ne", "Ye"]


async def test_the_old_summary_and_the_oldest_messages_become_the_new_one(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session()
    for number in range(2):
        await hall.exchange(log, number)
    await hall.summarize("First.", 1)
    for number in range(2, 3):
        await hall.exchange(log, number)
    second = await hall.writer.answering(2)
    assert "Summary so far:\nFirst." in second.messages()[1][1]
    assert "User: q1" in second.messages()[1][1]
    await hall.summarize("Second.", 2)
    found = await hall.rows(log.session.session_id)
    assert [text for _, text in found] == ["First.", "Second."]
    assert found[0][0] < found[1][0] == log.desk.summary.upto_seq


async def test_a_prompt_that_would_not_fit_is_summed_up_in_the_turn_and_a_frame_says_so(make: Make) -> None:
    hall = await make(threshold=1.0)
    log = await hall.session()
    for number in range(2):
        await hall.exchange(log, number)
    assert hall.writer.streams == []
    turn = await hall.start(log, WORDS + " " + WORDS)
    await hall.writer.answering()
    assert len(hall.llm.streams) == 2, "the answer waits for the summary"
    await hall.write("Ann likes.", 1)
    await hall.write("Ann likes words.", 2)
    (await hall.llm.answering(3)).finish()
    assert (await turn.done).state is TurnState.COMPLETED
    [frame] = await summary_frames(hall, log)
    assert (frame["status"], frame["turn_id"]) == ("written", turn.turn_id)
    assert frame["upto"] == log.desk.summary.upto_seq
    assert frame["usage"]["prompt_tokens"] == 200
    assert "Ann likes words." in hall.told[0]
    stored = await hall.stored(log, turn.turn_id)
    assert stored.memory is not None
    assert stored.memory["summary"]["status"] == "written"


async def test_a_turn_waits_for_the_summary_that_is_being_written_already(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session()
    for number in range(2):
        await hall.exchange(log, number)
    await hall.writer.answering()
    turn = await hall.start(log, WORDS + " " + WORDS)
    await until(lambda: turn.condensing is not None)
    await hall.summarize("Ann likes words.")
    (await hall.llm.answering(3)).finish()
    await turn.done
    assert len(hall.writer.streams) == 1
    assert "Ann likes words." in hall.told[0]


async def test_a_turn_does_not_wait_long_for_a_summary_which_goes_on_beside_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session()
    for number in range(2):
        await hall.exchange(log, number)
    slow = await hall.writer.answering()
    monkeypatch.setattr(turns_summaries, "PATIENCE_SECONDS", 0.02)
    await hall.say(log, WORDS + " " + WORDS, "Yes")
    [frame] = await summary_frames(hall, log)
    assert (frame["status"], frame["left_out"]) == ("failed", 2)
    assert "takes longer than" in frame["message"]
    assert [content[:2] for content in hall.told[1:]] == ["q1", "a1", "wo"]
    slow.say("Ann likes words.")
    slow.finish(Usage(100, 10, "provider"))
    await until(lambda: log.desk.summary is not None)
    assert log.desk.summary.text == "Ann likes words."


@pytest.mark.parametrize("how", ["fails", "says nothing"])
async def test_a_failed_summary_falls_back_to_the_window_and_says_so(
    make: Make, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session()
    for number in range(2):
        await hall.exchange(log, number)
    stream = await hall.writer.answering()
    if how == "fails":
        stream.fail(LLMError("no such model"))
    else:
        stream.finish()
    await hall.summaries.settled()
    assert "were not summed up" in caplog.text
    await hall.say(log, WORDS + " " + WORDS, "Yes")
    assert len(hall.writer.streams) == 1, "it is not tried again at once"
    assert hall.told[0] == "Be brief."
    assert [content[:2] for content in hall.told[1:]] == ["q1", "a1", "wo"]
    [frame] = await summary_frames(hall, log)
    assert (frame["status"], frame["left_out"]) == ("failed", 2), "no answer without its question"
    assert ("no such model" in frame["message"]) == (how == "fails")
    caplog.clear()


async def test_a_message_that_leaves_no_room_stands_alone(make: Make) -> None:
    hall = await make()
    log = await hall.session()
    await hall.say(log, "Hello", "Hi")
    long = " ".join(["long"] * 2 * BUDGET)
    await hall.say(log, long, "Yes")
    assert hall.told == ["Be brief.", long]
    [frame] = await summary_frames(hall, log)
    assert (frame["status"], frame["left_out"], frame["tokens"]) == ("no_room", 2, 2 * BUDGET + 4)


async def test_what_a_long_message_pushed_out_is_summed_up_after_it(make: Make) -> None:
    hall = await make(threshold=1.0)
    log = await hall.session()
    await hall.exchange(log, 0)
    await hall.say(log, " ".join(["long"] * 3 * BUDGET), "Yes")
    stream = await hall.writer.answering()
    assert "User: q0" in stream.messages()[1][1]
    await hall.summarize("Ann began with q0.")
    assert log.desk.summary.text == "Ann began with q0."


async def test_a_long_message_is_summed_up_from_its_first_word_to_its_last(make: Make) -> None:
    hall = await make()
    log = await hall.session()
    contract = [f"paragraph{number}" for number in range(400)]
    await hall.say(log, " ".join(contract), "Noted.")
    turn = await hall.start(log, "What is in paragraph 150?")
    read: list[str] = []
    number = 0
    while len(hall.llm.streams) < 2:
        if len(hall.writer.streams) > number:
            stream = await hall.writer.answering(number + 1)
            asked = stream.messages()[1][1]
            assert ("Summary so far:" in asked) == (number > 0), "each portion goes into the summary of those before"
            read += [word for word in asked.split() if word.startswith("paragraph")]
            await hall.write(f"Read {len(read)}.", number + 1)
            number += 1
        await asyncio.sleep(0)
    (await hall.llm.answering(2)).finish()
    await turn.done
    assert read == contract
    assert number > 4
    assert "Read 400." in hall.told[0]
    assert hall.told[1:] == ["What is in paragraph 150?"]
    assert len(await hall.rows(log.session.session_id)) == 1, "half a message is no place to go on from"


async def test_a_stop_in_the_middle_of_a_long_message_keeps_no_half_summary(make: Make) -> None:
    hall = await make()
    log = await hall.session()
    await hall.say(log, " ".join(["long"] * 400), "Noted.")
    turn = await hall.start(log, "And?")
    await hall.write("The first part.", 1)
    await hall.writer.answering(2)
    await hall.stopping.cancel(log, wait_seconds=5)
    assert turn.state is TurnState.CANCELLED
    assert await hall.rows(log.session.session_id) == []


async def test_a_window_by_number_tells_what_it_leaves_out(make: Make) -> None:
    hall = await make(strategy="buffer_window", window_size=3)
    log = await hall.session("cold")
    for number in range(3):
        await hall.exchange(log, number)
    frames = await summary_frames(hall, log)
    assert [(frame["status"], frame["left_out"]) for frame in frames] == [("left_out", 2)]
    hall.live.remove("cold")
    cold = await hall.live.open("cold")
    assert cold is not None
    outcome = await hall.say(cold, "Next", "Yes")
    stored = await hall.stored(cold, outcome.turn_id)
    assert stored.memory == {"summary": {"status": "left_out", "left_out": 4}}


async def test_messages_that_a_cold_session_does_not_read_are_counted(make: Make) -> None:
    hall = await make(budget=80)
    log = await hall.session("cold")
    for number in range(40):
        await hall.exchange(log, number)
    hall.live.remove("cold")
    cold = await hall.live.open("cold")
    assert cold is not None
    await hall.say(cold, "Next", "Yes")
    frames = await summary_frames(hall, cold)
    assert frames[-1]["left_out"] == 80 + 1 - (len(hall.told) - 1)


async def test_a_cold_session_reads_the_summary_and_what_came_after(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session("cold")
    for number in range(2):
        await hall.exchange(log, number)
    await hall.summarize("Ann likes words.")
    hall.live.remove("cold")
    cold = await hall.live.open("cold")
    assert cold is not None
    await hall.say(cold, "Next", "Yes")
    assert "Ann likes words." in hall.told[0]
    assert [content[:2] for content in hall.told[1:]] == ["q1", "a1", "Ne"]


async def test_a_stopped_turn_stops_the_summary_it_waits_for(make: Make) -> None:
    hall = await make(threshold=1.0)
    log = await hall.session()
    for number in range(2):
        await hall.exchange(log, number)
    turn = await hall.start(log, WORDS + " " + WORDS)
    stream = await hall.writer.answering()
    await hall.stopping.cancel(log, wait_seconds=5)
    assert turn.state is TurnState.CANCELLED
    assert stream.is_stopped
    assert len(hall.llm.streams) == 2


@pytest.mark.parametrize("over", ["terminated", "ended"])
async def test_nothing_is_summed_up_in_a_session_that_is_over(make: Make, over: str) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session("over")
    for number in range(2):
        await hall.exchange(log, number)
    stream = await hall.writer.answering()
    if over == "terminated":
        await hall.terminations.terminate(log)
    else:
        await hall.endings.end(log)
    await hall.summaries.settled()
    assert stream.is_stopped
    assert await hall.rows("over") == []


async def test_a_terminate_erases_the_summaries(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session("gone")
    for number in range(2):
        await hall.exchange(log, number)
    await hall.summarize("Ann likes words.")
    assert len(await hall.rows("gone")) == 1
    await hall.terminations.terminate(log)
    assert await hall.rows("gone") == []


async def test_a_fork_takes_along_the_summary_of_what_it_keeps_and_of_nothing_else(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session("source")
    for number in range(4):
        await hall.exchange(log, number)
        if number:
            await hall.summarize(f"Up to {number - 1}.", number)
    found = await hall.database.read(lambda connection: messages.page(connection, "source", limit=20))
    assert [text for _, text in await hall.rows("source")] == ["Up to 0.", "Up to 1.", "Up to 2."]
    fork = await hall.copies.fork(ALICE, log, at=found[4].message_id, session_id="fork")
    assert [text for _, text in await hall.rows("fork")] == ["Up to 0.", "Up to 1."]
    await hall.say(fork, "Next", "Yes")
    assert "Up to 1." in hall.told[0]
    [content] = hall.told[1:]
    assert content == f"q2 {WORDS}"[: len(WORDS)] + "\n\nNext"


async def test_a_new_answer_does_not_know_the_summary_of_the_old_one(make: Make) -> None:
    hall = await make(threshold=1.0)
    log = await hall.session("again")
    await hall.exchange(log, 0)
    before = log.session.last_seq
    await hall.exchange(log, 1)
    for upto, text in ((before, "Good."), (log.session.last_seq, "Bad.")):
        await store(hall, "again", upto, text)
    ask = await hall.history.again(log, None, None)
    turn = await hall.admission.start(log, hall.agent, ask, grace_seconds=None)
    (await hall.llm.answering(3)).finish()
    assert not isinstance(turn, str)
    await turn.done
    assert "Good." in hall.told[0]
    assert [text for _, text in await hall.rows("again")] == ["Good."]


async def test_few_summaries_are_kept(make: Make) -> None:
    hall = await make()
    await hall.session("many")
    for upto in range(1, 8):
        await store(hall, "many", upto, f"Up to {upto}.")
    assert [upto for upto, _ in await hall.rows("many")] == [4, 5, 6, 7]


async def test_what_a_summary_cost_is_in_the_ledger_and_no_turn_of_it(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session()
    for number in range(2):
        turn = await hall.start(log, WORDS)
        stream = await hall.llm.answering(number + 1)
        stream.say(WORDS)
        stream.finish(Usage(1, 1, "provider"))
        await turn.done
    await hall.summarize("Ann likes words.")
    await until(lambda: hall.database.writer.waiting == 0)
    columns = (tables.usage.c.turns, tables.usage.c.prompt_tokens, tables.usage.c.completion_tokens)
    [row] = await hall.database.read(lambda connection: connection.execute(select(*columns)).all())
    assert tuple(row) == (2, 102, 12)
    assert (log.session.prompt_tokens, log.session.completion_tokens) == (102, 12)
    hall.live.remove(log.session.session_id)
    cold = await hall.live.open(log.session.session_id)
    assert cold is not None
    assert (cold.session.prompt_tokens, cold.session.completion_tokens) == (102, 12)


async def test_an_ephemeral_session_is_summed_up_in_memory_only(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session("brief", ephemeral=True)
    for number in range(2):
        await hall.exchange(log, number)
    await hall.summarize("Ann likes words.")
    await hall.say(log, "Next", "Yes")
    assert "Ann likes words." in hall.told[0]
    assert await hall.rows("brief") == []


async def test_a_shutdown_does_not_wait_for_a_summary(make: Make) -> None:
    hall = await make(threshold=0.7)
    log = await hall.session()
    for number in range(2):
        await hall.exchange(log, number)
    stream = await hall.writer.answering()
    async with asyncio.timeout(1):
        await hall.summaries.close()
    assert stream.is_stopped


async def store(hall: Hall, session_id: str, upto: int, text: str) -> None:
    unit = UnitOfWork(session_id)
    summaries.add(unit, Summary(upto, text, 5, "hand", 1))
    await hall.database.submit(unit)
