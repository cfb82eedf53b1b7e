"""Step: one call of the model, whose text goes into the log as it comes. Readers are not known here."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from app.domain.event import EventKind
from app.domain.turn import Usage
from app.events.change import Change
from app.events.log import SessionLog
from app.llm.base import CallDelta, LLMRequest, LLMStopped, LLMStream, StreamEnd, TextDelta, ThinkingDelta
from app.memory.working import Entry
from app.turns.condensing import counted
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn, Prompt

HEADROOM = 96
"""Numbers kept free in the block for facts that readers see before they are committed, and for the log's `TAIL`."""


async def ask(desk: Desk, turn: OpenTurn, request: LLMRequest) -> StreamEnd:
    """Ask the model once; its text is on the log's tape. Returns how the answer ended, with the calls it asks for.

    Raises:
        LLMStopped: `turn.stop` was set.
        LLMError, LLMTimeout: the model failed; what it said before stays.
        HectorError: the database failed.
    """
    if turn.stop is not None:
        raise LLMStopped
    turn.step += 1
    turn.is_counted = False
    turn.llm = desk.agent.llm
    stream = turn.stream = turn.llm.stream(request)
    try:
        await _relay(desk.session_log, turn, stream)
    finally:
        stream.close()
    return stream.end


async def usage_of(desk: Desk, turn: OpenTurn) -> Usage | None:
    """What a turn used whose last step did not complete; `None` if the model never took a request."""
    return added(turn.used, await _usage_of_step(desk, turn))


async def _usage_of_step(desk: Desk, turn: OpenTurn) -> Usage | None:
    stream = turn.stream
    if stream is None or turn.prompt is None or turn.is_counted:
        return None
    if stream.end.usage is not None or not stream.was_accepted:
        return stream.end.usage
    return await count_usage(desk, turn.prompt, turn.entries)


def added(one: Usage | None, other: Usage | None) -> Usage | None:
    """Both together; as sure as the less sure of them."""
    if one is None or other is None:
        return one or other
    sources = {one.source, other.source}
    source = next(word for word in ("estimated", "counted", "provider") if word in sources)
    prompt, completion = one.prompt_tokens + other.prompt_tokens, one.completion_tokens + other.completion_tokens
    return Usage(prompt, completion, source)


async def _relay(session_log: SessionLog, turn: OpenTurn, stream: LLMStream) -> None:
    """The hot path: one read of the model's socket, one call of `append_text`."""
    last: float | None = None
    while deltas := await stream.read():
        if turn.stop is not None:
            turn.dropped += sum([len(delta.chunks) for delta in deltas])
            raise LLMStopped
        now = monotonic()
        if last is None:
            if turn.first_token_clock is None and turn.step <= 1:  # later: that of a turn which a restart interrupted
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
    return EventKind.TEXT if isinstance(delta, TextDelta) else EventKind.THINKING


async def reserve(session_log: SessionLog, wanted: int) -> None:
    """Make room for `wanted` numbers and a good many more, committed before the first is used."""
    change = Change(session_log)
    change.reserve(wanted)
    await change.commit()


async def ensure_room(session_log: SessionLog, wanted: int) -> None:
    """Make room for `wanted` numbers of facts that are about to be taken, if there is none."""
    if session_log.room() < wanted + HEADROOM:
        await reserve(session_log, wanted + HEADROOM)


async def count_usage(desk: Desk, prompt: Prompt, steps: Sequence[Entry] = ()) -> Usage:
    """What a step cost by our own count, for providers that do not say and turns that were stopped."""
    tape = desk.session_log.tape
    text = tape.text() if tape is not None else ""
    entries = [*prompt.entries, *steps]

    def count() -> Usage:
        llm = desk.agent.llm
        asked = sum([item.count(llm.count_tokens) for item in entries])
        return Usage(asked, llm.count_tokens(text), "counted" if llm.counts_exactly else "estimated")

    uncounted = sum([len(item.encoded) for item in entries if item.tokens is None]) + len(text)
    return await counted(count, size=uncounted)
