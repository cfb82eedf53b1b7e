"""The beginning of a turn: message, turn, number and first event become true together. Counterpart of finish.py."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from app.domain.errors import Unavailable, session_not_found, session_over
from app.domain.event import EventKind
from app.domain.message import Message
from app.domain.session import SessionStatus
from app.domain.turn import Turn, TurnState
from app.events.live import Store
from app.events.log import BLOCK, SessionLog
from app.events.run import Run
from app.storage import events, messages, sessions, summaries, turns
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.turns.desk import Desk, OpenTurn

Key = tuple[str, bytes]
"""An idempotency key and the hash of the body it came with."""


def take_started(desk: Desk, turn: OpenTurn, *, now_ms: int) -> Run:
    """The turn begins now: its `turn_started`, to be shown once it is committed."""
    turn.started_ms = now_ms
    turn.started_clock = time.monotonic()
    started = desk.log.take_fact(EventKind.TURN_STARTED, _announcement(desk, turn), turn_id=turn.turn_id)
    turn.started_seq = started.first
    return started


def take_queued(desk: Desk, turn: OpenTurn) -> Run:
    """The turn waits: its `turn_queued`."""
    queued = desk.log.take_fact(EventKind.TURN_QUEUED, _announcement(desk, turn), turn_id=turn.turn_id)
    turn.after = queued.first - 1
    return queued


def starting(desk: Desk, turn: OpenTurn, started: Run, key: Key | None) -> tuple[UnitOfWork, int]:
    """A turn that begins at once. Returns the unit, and the highest number reserved once it is committed."""
    again = turn.ask.again
    unit, reserved = _accepting(desk, turn.started_ms, messages=1 if again is None else 0)
    turns.add_open(unit, _row(desk, turn, TurnState.RUNNING, first=started.first), place=turn.place)
    if again is None:
        _add_message(unit, turn)
    elif again.replaced_seq is not None:
        messages.add_replace(unit, seq=again.replaced_seq)
        summaries.add_drop(unit, seq=again.replaced_seq)
    _add_fact(unit, started)
    _add_key(unit, turn, key)
    return unit, reserved


def queueing(desk: Desk, turn: OpenTurn, queued: Run, key: Key | None) -> tuple[UnitOfWork, int]:
    """A turn that waits: its message enters the history when it starts."""
    unit, reserved = _accepting(desk, turn.created_ms, messages=0)
    turns.add_open(unit, _row(desk, turn, TurnState.QUEUED, first=queued.first), place=turn.place)
    _add_fact(unit, queued)
    _add_key(unit, turn, key)
    return unit, reserved


def starting_queued(desk: Desk, turn: OpenTurn, started: Run) -> tuple[UnitOfWork, int]:
    """A turn that waited begins."""
    unit, reserved = _accepting(desk, turn.started_ms, messages=1)
    turns.add_start(unit, turn.turn_id, now=turn.started_ms)
    _add_message(unit, turn)
    _add_fact(unit, started)
    return unit, reserved


def adding(desk: Desk, message: Message, *, now_ms: int) -> tuple[UnitOfWork, int]:
    """A message without a turn."""
    unit, reserved = _accepting(desk, now_ms, messages=1)
    messages.add_append(unit, message)
    return unit, reserved


async def commit(log: SessionLog, store: Store, unit: UnitOfWork) -> None:
    """Raises Unavailable, or what a new message to this session is refused with."""
    await committed(log, store.database.submit(unit))


async def committed(log: SessionLog, written: asyncio.Future[None]) -> None:
    """Wait for a unit that was handed over; raises like `commit`."""
    try:
        # Shielded: a caller that goes away does not decide whether its message was stored.
        await asyncio.shield(written)
    except WriteFailed as error:
        raise Unavailable(f"The message could not be stored: {error}") from error
    except WriteConflict:
        if log.over is not None or log.session.status is not SessionStatus.ACTIVE:
            raise session_over((log.over or log.session.status).value, log.session.session_id) from None
        raise session_not_found(log.session.session_id) from None


def count(desk: Desk, now_ms: int, reserved: int, *, messages: int) -> None:
    """What the unit just committed changed in the session, for the warm copy."""
    log = desk.log
    log.reserved_seq = max(log.reserved_seq, reserved)
    log.session = replace(
        log.session,
        active_ms=now_ms,
        last_seq=log.last_seq,
        reserved_seq=log.reserved_seq,
        message_count=log.session.message_count + messages,
    )


def _announcement(desk: Desk, turn: OpenTurn) -> dict[str, object]:
    return {
        "turn_id": turn.turn_id,
        "session_id": desk.log.session.session_id,
        "message_id": turn.user_message_id,
        "message": turn.text,
    }


def _accepting(desk: Desk, now_ms: int, *, messages: int) -> tuple[UnitOfWork, int]:
    log = desk.log
    reserved = log.reserved_seq
    if reserved - log.last_seq < BLOCK // 2:
        reserved = log.last_seq + BLOCK
    unit = UnitOfWork(log.session.session_id)
    sessions.add_start(unit, now=now_ms, last=log.last_seq, reserved=reserved, messages=messages)
    return unit, reserved


def _row(desk: Desk, turn: OpenTurn, state: TurnState, *, first: int) -> Turn:
    return Turn(
        turn_id=turn.turn_id,
        session_id=desk.log.session.session_id,
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
    )


def _add_message(unit: UnitOfWork, turn: OpenTurn) -> None:
    message = Message(
        turn.user_message_id,
        unit.session_id,
        turn.turn_id,
        "user",
        turn.text,
        "completed",
        turn.started_seq,
        turn.started_ms,
    )
    messages.add_append(unit, message)


def _add_fact(unit: UnitOfWork, run: Run) -> None:
    events.add_fact(unit, seq=run.first, kind=run.kind.value, turn_id=run.turn_id, fact=run.fact, created_ms=run.at_ms)


def _add_key(unit: UnitOfWork, turn: OpenTurn, key: Key | None) -> None:
    if key is not None:
        turns.add_key(unit, key=key[0], body_hash=key[1], turn_id=turn.turn_id, now=turn.created_ms)
