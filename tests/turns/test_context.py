"""Whatever was said, summed up or lost: one system prompt, then whole messages in order, in a form all models take."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.message import Role, is_blank
from app.domain.summary import Summary
from app.events.log import SessionLog
from app.llm.base import LLMError
from app.memory.summary_buffer import SummaryBuffer, block
from app.memory.working import MESSAGE_OVERHEAD_TOKENS
from app.sessions.draft import Draft, Seed
from app.storage import summaries
from app.storage.engine.unit_of_work import UnitOfWork
from app.turns.desk import desk_of
from app.turns.prompt import MARKS
from app.turns.template import LEFT_OUT
from tests.fixtures.hand_llm import HandLLM
from tests.fixtures.house import ALICE, House

BLANK = ["", " \n", "\u200b"]
Said = list[tuple[Role, str] | None]
STATUSES = ["completed", "cancelled", "failed", "interrupted"]


@dataclass(frozen=True)
class Talk:
    """A stored conversation: (role, words, status); where a summary ends, if there is one, and what it says."""

    said: list[tuple[Role, int, str]]
    cut: int | None
    summary_words: int
    question_words: int


WORDS = st.just(0) | st.integers(0, 60)
TALKS = st.builds(
    Talk,
    said=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), WORDS, st.sampled_from(STATUSES)), max_size=30),
    cut=st.none() | st.integers(0, 30),
    summary_words=st.integers(1, 20),
    question_words=st.integers(1, 260),
)
WORKING = st.one_of(
    st.fixed_dictionaries({"strategy": st.just("summary_buffer"), "budget": st.integers(20, 400)}),
    st.fixed_dictionaries({"strategy": st.just("buffer_window"), "window_size": st.integers(1, 12)}),
)


@given(talk=TALKS, working=WORKING, summary_fails=st.booleans())
@settings(max_examples=60)
def test_what_the_model_is_told_is_valid_wherever_the_history_is_cut(
    talk: Talk, working: dict[str, Any], summary_fails: bool
) -> None:
    asyncio.run(_check(talk, working, summary_fails))


async def _check(talk: Talk, working: dict[str, Any], summary_fails: bool) -> None:
    writer = HandLLM()
    house = House(agent={"memory": {"working": working}}, summarizer=writer)
    await house.open()
    writing = asyncio.create_task(_write(writer, fails=summary_fails))
    try:
        said = await _store(house, talk)
        log = await house.live.open("talk")
        assert log is not None
        question = " ".join(["why"] * talk.question_words)
        turn = await house.start(log, question)
        request = (await house.llm.answering()).request.messages
        sent = _check_request(house, request, [*said, ("user", question)], working)
        _check_summary(log, request, said, sent - 1, says_left_out="left_out" in (turn.summary or {}))
        house.llm.streams[0].finish()
        await turn.done
    finally:
        writing.cancel()
        await house.close()


def _check_request(house: House, encoded: Any, said: Said, working: dict[str, Any]) -> int:
    """How many of the newest messages the request has: whole, in their order, none twice, neighbours joined."""
    told = [orjson.loads(message) for message in encoded]
    roles = [message["role"] for message in told]
    assert roles == ["system", *["user", "assistant"] * (len(roles) // 2 - 1), "user"]
    assert not [message for message in told if is_blank(message["content"])]
    texts = [message["content"] for message in told[1:] if message["content"] != LEFT_OUT]
    kept = [message for message in said if message is not None]
    count = next(count for count in range(1, len(kept) + 1) if _joined(kept[-count:]) == texts)
    memory = house.agent.working_memory
    if isinstance(memory, SummaryBuffer):
        tokens = house.llm.count_tokens
        summed = [part for part in told[0]["content"].split("\n\n") if part.startswith("<summary>")]
        contents = [message["content"] for message in told[1:]]
        cost = sum([tokens(text) for text in summed]) + sum(
            [tokens(text) + MESSAGE_OVERHEAD_TOKENS for text in contents]
        )
        assert cost <= memory.budget or (count == 1 and not summed)
    else:
        assert len(told) - 1 <= working["window_size"]
    return count


def _joined(messages: list[tuple[Role, str]]) -> list[str]:
    groups = groupby(messages, key=lambda message: message[0])
    return ["\n\n".join([text for _, text in group]) for _, group in groups]


def _check_summary(log: SessionLog, request: Any, said: Said, sent: int, *, says_left_out: bool) -> None:
    """A message is in the summary or in the window, not in both; in neither only if the record says so."""
    numbers = [number for number, message in enumerate(said, 1) if message is not None]
    first = numbers[-sent] if sent else len(said) + 1
    desk = desk_of(log)
    assert desk is not None
    summary = desk.summary if b"<summary>" in request[0] else None
    covered = summary.upto_seq if summary is not None else 0
    assert covered < first
    if isinstance(desk.agent.working_memory, SummaryBuffer) and desk.agent.working_memory.sums_up:
        between = [number for number in numbers if covered < number < first]
        assert bool(between) == says_left_out


async def _store(house: House, talk: Talk) -> Said:
    """Make the session; what the model would be told of each message, `None` for those that are blank."""
    seeds = [
        Seed(role, " ".join([f"m{place}"] * words) or BLANK[place % 3], status if role == "assistant" else "completed")
        for place, (role, words, status) in enumerate(talk.said)
    ]
    await house.sessions.create(ALICE, "assistant", session_id="talk", draft=Draft(seeds=tuple(seeds)))
    if talk.cut is not None and 0 < talk.cut <= len(seeds):
        unit = UnitOfWork("talk")
        text = " ".join(["sum"] * talk.summary_words)
        summaries.add(unit, Summary(talk.cut, text, house.llm.count_tokens(block(text)), "hand", 1))
        await house.database.submit(unit)
    house.live.remove("talk")
    marks = [MARKS.get(seed.status, "") if seed.role == "assistant" else "" for seed in seeds]
    return [
        None if is_blank(seed.content) else (role, seed.content + mark)
        for (role, _, _), seed, mark in zip(talk.said, seeds, marks, strict=True)
    ]


async def _write(writer: HandLLM, *, fails: bool) -> None:
    """Answer whatever summary is asked for."""
    number = 0
    while True:
        number += 1
        stream = await writer.answering(number)
        if fails:
            stream.fail(LLMError("no"))
        else:
            stream.say("In short.")
            stream.finish()
