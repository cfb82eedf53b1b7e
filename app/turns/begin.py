"""The beginning of a turn: message, turn, number and first event become true together. Counterpart of finish.py."""

from __future__ import annotations

import time

from app.domain.event import TurnQueued, TurnStarted
from app.domain.message import Message
from app.domain.turn import Turn, TurnState
from app.events.change import Change
from app.storage import messages, summaries, turns
from app.turns.desk import Desk
from app.turns.keys import Key
from app.turns.open_turn import OpenTurn


def begin_at_once(change: Change, desk: Desk, turn: OpenTurn, key: Key | None, *, now_ms: int) -> None:
    """A turn that begins when its message is accepted."""
    _number_start(change, desk, turn, now_ms=now_ms)
    turn.after = turn.started_seq - 1
    again = turn.ask.again
    turns.add_open(change.unit, _row(desk, turn, TurnState.RUNNING, first=turn.started_seq), place=turn.place)
    if again is None:
        _insert_message(change, turn)
    elif again.replaced_seq is not None:
        messages.add_replace(change.unit, after=again.seq, upto=again.replaced_seq)
        summaries.add_drop(change.unit, seq=again.replaced_seq)
    _insert_key(change, turn, key)


def enqueue(change: Change, desk: Desk, turn: OpenTurn, key: Key | None) -> None:
    """A turn that waits: its message enters the history when it begins."""
    queued = change.fact(TurnQueued(turn.turn_id, desk.session_id, turn.user_message_id, turn.text))
    change.set(active_ms=turn.created_ms)
    turn.after = queued.first - 1
    turns.add_open(change.unit, _row(desk, turn, TurnState.QUEUED, first=queued.first), place=turn.place)
    _insert_key(change, turn, key)


def begin_queued(change: Change, desk: Desk, turn: OpenTurn, *, now_ms: int) -> None:
    """A turn that waited begins."""
    _number_start(change, desk, turn, now_ms=now_ms)
    # First the message: a database in memory shows a reader what is not committed, and the turn's copy of it goes.
    _insert_message(change, turn)
    turns.add_start(change.unit, turn.turn_id, now=now_ms, version=turn.agent_version)


def _number_start(change: Change, desk: Desk, turn: OpenTurn, *, now_ms: int) -> None:
    turn.started_ms = now_ms
    turn.agent_version = desk.agent.version or None
    turn.started_clock = time.monotonic()
    started = change.fact(TurnStarted(turn.turn_id, desk.session_id, turn.user_message_id, turn.text))
    turn.started_seq = started.first
    change.set(active_ms=now_ms)
    for unclosed in desk.unclosed:
        for run in unclosed.facts:
            change.store(run)
        turns.add_close(change.unit, unclosed.turn_id, last=turn.started_seq - 1, now=now_ms)


def _row(desk: Desk, turn: OpenTurn, state: TurnState, *, first: int) -> Turn:
    return Turn(
        turn_id=turn.turn_id,
        session_id=desk.session_id,
        state=state,
        reason=None,
        background=turn.background,
        text=turn.text,
        user_message_id=turn.user_message_id,
        message_id=turn.message_id,
        first_seq=first,
        last_seq=None,
        created_ms=turn.created_ms,
        started_ms=turn.started_ms or None,
        finished_ms=None,
        instructions=turn.ask.instructions,
        response_format=turn.ask.response_format,
        agent_version=turn.agent_version,
    )


def _insert_message(change: Change, turn: OpenTurn) -> None:
    message = Message(
        message_id=turn.user_message_id,
        session_id=change.unit.session_id,
        turn_id=turn.turn_id,
        role="user",
        content=turn.text,
        status="completed",
        seq=turn.started_seq,
        created_ms=turn.started_ms,
        trust=turn.ask.trust,
    )
    messages.add(change.unit, message)
    change.count(messages=1)


def _insert_key(change: Change, turn: OpenTurn, key: Key | None) -> None:
    if key is not None:
        turns.add_key(change.unit, key=key[0], body_hash=key[1], turn_id=turn.turn_id, now=turn.created_ms)
