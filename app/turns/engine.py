"""The engine of a turn: asks the model and writes what it says into the log. Readers are not known here."""

from __future__ import annotations

from time import monotonic
from typing import assert_never

from app.domain.event import EventKind
from app.domain.turn import Usage
from app.events.change import Change
from app.events.log import SessionLog
from app.llm.base import CallDelta, LLMStopped, LLMStream, TextDelta, ThinkingDelta
from app.turns.condensing import counted
from app.turns.desk import Desk
from app.turns.memory import TurnMemory
from app.turns.open_turn import OpenTurn, Prompt
from app.turns.prompt import build, request_of
from app.turns.summaries import Summaries

HEADROOM = 96
"""Numbers kept free in the block for facts that readers see before they are committed, and for the log's `TAIL`."""


async def answer(desk: Desk, turn: OpenTurn, *, memory: TurnMemory | None, summaries: Summaries) -> Usage | None:
    """Run one turn to its end; its text is on the log's tape. Returns what the provider says it used.

    Raises:
        LLMStopped: `turn.stop` was set.
        LLMError, LLMTimeout: the model failed; what it said before stays.
        HectorError: the database failed.
    """
    if turn.ask.again is not None:
        desk.window = None  # it holds the answer that gives way
    prompt = turn.prompt = await _prepare(desk, turn, memory, summaries)
    if turn.stop is not None:
        raise LLMStopped
    turn.llm = desk.agent.llm
    stream = turn.stream = turn.llm.stream(request_of(desk, prompt))
    try:
        await _relay(desk.session_log, turn, stream)
    finally:
        stream.close()
    return stream.end.usage


async def usage_of(desk: Desk, turn: OpenTurn) -> Usage | None:
    """What a turn used that did not complete; `None` if the model never took its request."""
    stream = turn.stream
    if stream is None or turn.prompt is None:
        return None
    if stream.end.usage is not None or not stream.was_accepted:
        return stream.end.usage
    return await count_usage(desk, turn.prompt)


async def _prepare(desk: Desk, turn: OpenTurn, memory: TurnMemory | None, summaries: Summaries) -> Prompt:
    if memory is None or desk.agent.config.memory.longterm is None:
        return await build(desk, turn, summaries)
    turn.recalling = memory.recall(desk, turn)
    try:
        await memory.look(desk, turn)
        return await build(desk, turn, summaries)
    finally:
        if turn.recalling is not None:
            turn.recalling.cancel()
            turn.recalling = None


async def _relay(session_log: SessionLog, turn: OpenTurn, stream: LLMStream) -> None:
    """The hot path: one read of the model's socket, one call of `append_text`."""
    last: float | None = None
    while deltas := await stream.read():
        if turn.stop is not None:
            turn.dropped += sum([len(delta.chunks) for delta in deltas])
            raise LLMStopped
        now = monotonic()
        if last is None:
            turn.first_token_clock = now
        elif now - last > turn.longest_gap:
            turn.longest_gap = now - last
        last = now
        for delta in deltas:
            if isinstance(delta, CallDelta):
                continue
            chunks = delta.chunks
            if session_log.room() < len(chunks) + HEADROOM:
                await reserve(session_log, len(chunks) + HEADROOM)
                if turn.stop is not None:  # it came during the wait
                    raise LLMStopped
            session_log.append_text(_kind_of(delta), chunks)


def _kind_of(delta: TextDelta | ThinkingDelta) -> EventKind:
    if isinstance(delta, TextDelta):
        return EventKind.TEXT
    if isinstance(delta, ThinkingDelta):
        return EventKind.THINKING
    assert_never(delta)


async def reserve(session_log: SessionLog, wanted: int) -> None:
    """Make room for `wanted` numbers and a good many more, committed before the first is used."""
    change = Change(session_log)
    change.reserve(wanted)
    await change.commit()


async def count_usage(desk: Desk, prompt: Prompt) -> Usage:
    """What the turn cost by our own count, for providers that do not say and turns that were stopped."""
    tape = desk.session_log.tape
    text = tape.text() if tape is not None else ""
    entries = prompt.entries

    def count() -> Usage:
        llm = desk.agent.llm
        asked = sum([item.count(llm.count_tokens) for item in entries])
        return Usage(asked, llm.count_tokens(text), "counted" if llm.counts_exactly else "estimated")

    uncounted = sum([len(item.encoded) for item in entries if item.tokens is None]) + len(text)
    return await counted(count, size=uncounted)
