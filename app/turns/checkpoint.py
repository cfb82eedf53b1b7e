"""Checkpoint: what a step leaves becomes true together: the assistant's message with its calls, then their outcomes."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.act import Act
from app.domain.event import EventKind
from app.domain.message import Message, ToolCallRecord
from app.events.change import Change
from app.events.tape import Segment, Tape
from app.memory.working import Call, Entry, calls_entry, entry, tool_entry
from app.storage import acts as rows
from app.storage import events, messages, turns
from app.storage.engine.unit_of_work import UnitOfWork
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn
from app.turns.outcomes import told

KEPT = frozenset({"todo_write"})
"""Tools whose newest result never gives way."""


def add_calls(change: Change, desk: Desk, turn: OpenTurn, acts: Sequence[Act], next_id: str, now_ms: int) -> Entry:
    """The assistant's message that asks for `acts`, with the text it said before them. The text is sealed.

    `next_id`: that of the message which the turn says after it.
    """
    calls = [(act.call_id, act.name, act.arguments) for act in acts]
    message = _add_message(change, desk, turn, calls, next_id, now_ms, status="completed")
    return calls_entry(message.content, calls, message.message_id, message.seq)


def add_said(change: Change, desk: Desk, turn: OpenTurn, next_id: str, now_ms: int, *, status: str) -> Entry:
    """What the assistant said so far as a message of its own, without calls. The text is sealed."""
    message = _add_message(change, desk, turn, [], next_id, now_ms, status=status)
    return entry("assistant", message.content, message.message_id, message.seq)


def _add_message(
    change: Change, desk: Desk, turn: OpenTurn, calls: Sequence[Call], next_id: str, now_ms: int, *, status: str
) -> Message:
    """It has the id that readers may have been told; what is said next has another one."""
    tape = desk.session_log.tape
    message = Message(
        message_id=turn.message_id,
        session_id=desk.session_id,
        turn_id=turn.turn_id,
        role="assistant",
        content=tape.text() if tape is not None else "",
        status=status,
        seq=change.number(),
        created_ms=now_ms,
        tool_calls=tuple([ToolCallRecord(*call) for call in calls]),
        trust=turn.trust,
    )
    messages.add(change.unit, message)
    change.count(messages=1)
    add_shown(change, turn)
    if tape is not None:
        add_runs(change.unit, tape, turn.turn_id, message_seq=message.seq, now_ms=now_ms)
        before = tape.seal()
        sealed = tape.sealed
        change.on_failure(lambda: tape.unseal(before))
        change.on_commit(lambda: tape.seal_stored(sealed))
    turns.add_message_id(change.unit, turn.turn_id, next_id)
    change.on_commit(lambda: turn.say_next(next_id))
    return message


def add_outcomes(
    change: Change, desk: Desk, turn: OpenTurn, acts: Sequence[Act], ids: Sequence[str], now_ms: int
) -> list[Entry]:
    """The outcomes of a step as messages, in the order of its calls. `ids`: those of the messages."""
    entries = []
    for act, message_id in zip(acts, ids, strict=True):
        message = outcome_message(act, message_id, change.number(), now_ms)
        messages.add(change.unit, message)
        entries.append(outcome_entry(message, act.name))
    turn.read(*[act.trust for act in acts])
    for step in {act.step for act in acts}:
        rows.add_checkpoint(change.unit, turn.turn_id, step)
    change.count(messages=len(acts))
    add_shown(change, turn)
    return entries


def outcome_message(act: Act, message_id: str, seq: int, now_ms: int) -> Message:
    """The outcome of an act as the history keeps it."""
    return Message(
        message_id=message_id,
        session_id=act.session_id,
        turn_id=act.turn_id,
        role="tool",
        content=told(act),
        status="completed",
        seq=seq,
        created_ms=now_ms,
        tool_call_id=act.call_id,
        result_id=act.result_id,
        trust=act.trust,
        secrecy=act.secrecy,
    )


def outcome_entry(message: Message, name: str) -> Entry:
    """A stored outcome as the model sees it."""
    return tool_entry(
        message.tool_call_id or "",
        name,
        message.content,
        message.message_id,
        message.seq,
        handle=message.result_id,
        is_kept=name in KEPT,
    )


def add_shown(change: Change, turn: OpenTurn) -> None:
    """The rows of events that readers have seen already."""
    shown = list(turn.shown)
    for run in shown:
        change.store(run)
    turn.shown.clear()

    def show_again() -> None:
        turn.shown[:0] = shown

    change.on_failure(show_again)


def add_runs(
    unit: UnitOfWork, tape: Tape, turn_id: str, *, message_seq: int, now_ms: int, drops_runs: bool = False
) -> None:
    """The table of number → text of the message that is written now: small, and all that a cursor in mid-turn needs.

    `drops_runs`: make room for the text also where the journal has not written any yet.
    """
    segments = list(tape.segments())
    if segments and (drops_runs or any(segment.journaled for segment in segments)):
        events.add_drop_runs(unit, from_seq=segments[0].first)
    start = 0
    for segment in segments:
        start += _add_segment(unit, segment, turn_id, start=start, message_seq=message_seq, now_ms=now_ms)


def _add_segment(unit: UnitOfWork, segment: Segment, turn_id: str, *, start: int, message_seq: int, now_ms: int) -> int:
    """How many characters of the message the segment is."""
    lengths = segment.character_lengths()
    plain = segment.kind is EventKind.TEXT
    events.add_run(
        unit,
        first=segment.first,
        last=segment.last,
        turn_id=turn_id,
        kind=segment.kind.value,
        lengths=lengths,
        content=None if plain else segment.text(),
        message_seq=message_seq if plain else None,
        start=start if plain else 0,
        created_ms=now_ms,
    )
    return sum(lengths) if plain else 0


def add_close(
    change: Change, desk: Desk, turn: OpenTurn, closed: Sequence[Act], ids: Sequence[str], now_ms: int
) -> list[Entry]:
    """Outcomes for the acts of a step that the turn's end cut: the pairs in the history stay whole.

    `closed`: the acts of `turn.acts` as they are to be stored.
    """
    for before, after in zip(turn.acts, closed, strict=True):
        if before is not after:
            rows.add_change(change.unit, before, after)
            _add_whole(change, turn, after, now_ms)
    return add_outcomes(change, desk, turn, closed, ids, now_ms)


def _add_whole(change: Change, turn: OpenTurn, act: Act, now_ms: int) -> None:
    """The whole result of an act whose outcome is a part of it."""
    whole = turn.closed_results.get(act.call_id)
    if whole is None or act.result_id is None:
        return
    rows.add_result(
        change.unit,
        result_id=act.result_id,
        call_id=act.call_id,
        content=whole,
        size=len(whole.encode()),
        created_ms=now_ms,
    )
