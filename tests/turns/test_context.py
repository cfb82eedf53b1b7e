"""Whatever was said, summed up or lost: the model is told one system prompt, then whole messages in their order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.message import Role
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
from tests.fixtures.hand_llm import HandLLM
from tests.fixtures.house import ALICE, House

STATUSES = ["completed", "cancelled", "failed", "interrupted"]


@dataclass(frozen=True)
class Talk:
    """A stored conversation: (role, words, status); where a summary ends, if there is one, and what it says."""

    said: list[tuple[Role, int, str]]
    cut: int | None
    summary_words: int
    question_words: int


TALKS = st.builds(
    Talk,
    said=st.lists(
        st.tuples(st.sampled_from(["user", "assistant"]), st.integers(0, 60), st.sampled_from(STATUSES)), max_size=30
    ),
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
        contents = await _store(house, talk)
        log = await house.live.open("talk")
        assert log is not None
        question = " ".join(["why"] * talk.question_words)
        turn = await house.start(log, question)
        request = (await house.llm.answering()).request.messages
        _check_request(house, request, [*contents, question], working)
        _check_summary(log, request, len(contents) + 1, "left_out" in (turn.summary or {}))
        house.llm.streams[0].finish()
        await turn.done
    finally:
        writing.cancel()
        await house.close()


def _check_request(house: House, encoded: Any, contents: list[str], working: dict[str, Any]) -> None:
    told = [orjson.loads(message) for message in encoded]
    assert [message["role"] for message in told].count("system") == 1
    assert told[0]["role"] == "system"
    assert all(isinstance(message["content"], str) for message in told)
    sent = [message["content"] for message in told[1:]]
    assert sent == contents[len(contents) - len(sent) :], "whole, the newest, in their order, none twice"
    assert told[-1]["role"] == "user"
    memory = house.agent.working_memory
    if isinstance(memory, SummaryBuffer):
        count = house.llm.count_tokens
        summed = [part for part in told[0]["content"].split("\n\n") if part.startswith("<summary>")]
        cost = sum([count(text) for text in summed]) + sum([count(text) + MESSAGE_OVERHEAD_TOKENS for text in sent])
        assert cost <= memory.budget or (len(sent) == 1 and not summed)
    else:
        assert len(sent) <= working["window_size"]


def _check_summary(log: SessionLog, request: Any, count: int, says_left_out: bool) -> None:
    """A message is in the summary or in the window, not in both; in neither only if the record says so."""
    first = count - (len(request) - 1) + 1
    desk = desk_of(log)
    assert desk is not None
    summary = desk.summary if b"<summary>" in request[0] else None
    covered = summary.upto_seq if summary is not None else 0
    assert covered < first
    if isinstance(desk.agent.working_memory, SummaryBuffer) and desk.agent.working_memory.sums_up:
        assert (covered + 1 == first) != says_left_out


async def _store(house: House, talk: Talk) -> list[str]:
    """Make the session; what the model would be told of each message."""
    seeds = [
        Seed(role, " ".join([f"m{place}"] * words), status if role == "assistant" else "completed")
        for place, (role, words, status) in enumerate(talk.said)
    ]
    await house.sessions.create(ALICE, "assistant", session_id="talk", draft=Draft(seeds=tuple(seeds)))
    if talk.cut is not None and 0 < talk.cut <= len(seeds):
        unit = UnitOfWork("talk")
        text = " ".join(["sum"] * talk.summary_words)
        summaries.add(unit, Summary(talk.cut, text, house.llm.count_tokens(block(text)), "hand", 1))
        await house.database.submit(unit)
    house.live.remove("talk")
    return [seed.content + (MARKS.get(seed.status, "") if seed.role == "assistant" else "") for seed in seeds]


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
