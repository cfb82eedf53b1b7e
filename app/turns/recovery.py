"""Recovery: before the server is ready, every open turn of its predecessor gets its end.

A process is alone on its data, so whatever runs in the database does not run anywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from app.domain.event import EventKind
from app.domain.message import Message
from app.domain.session import Session
from app.domain.turn import Turn, TurnState
from app.events.live import Store
from app.events.log import BLOCK
from app.events.run import fact_json
from app.storage import events, messages, sessions, turns
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict

log_ = logging.getLogger(__name__)


async def end_open_turns(store: Store, *, clock_ms: Callable[[], int]) -> tuple[int, list[Turn]]:
    """Mark running and waiting turns `interrupted`, keeping their text; returns how many, and the queued turns.

    Readers may have seen numbers up to the reserved block, and text that died with the process: the
    events written here lie above that block and begin with a snapshot of what was kept.
    """
    unfinished = await store.database.read(turns.unfinished)
    ended = 0
    for turn in unfinished:
        if turn.state is TurnState.QUEUED:
            continue
        session, text = await _load(store, turn)
        if session is None:
            continue
        try:
            await store.database.submit(_end(session, turn, text, clock_ms()))
            ended += 1
        except WriteConflict as error:
            log_.warning("turn %s could not be marked interrupted: %s", turn.turn_id, error)
    return ended, [turn for turn in unfinished if turn.state is TurnState.QUEUED]


async def _load(store: Store, turn: Turn) -> tuple[Session | None, str]:
    session = await store.database.read(lambda connection: sessions.find(connection, turn.session_id))
    if session is None:
        return None, ""
    text = await store.database.read(
        lambda connection: events.text_of_turn(
            connection,
            turn.session_id,
            turn.turn_id,
            after=turn.first_seq - 1,
            upto=max(session.reserved_seq, session.last_seq),
        )
    )
    return session, text


def _end(session: Session, turn: Turn, text: str, now: int) -> UnitOfWork:
    snapshot_seq = max(session.reserved_seq, session.last_seq) + 1
    finished_seq = snapshot_seq + 1
    message_id = turn.message_id if text else None
    unit = UnitOfWork(turn.session_id)
    turns.add_finish(
        unit,
        turn.turn_id,
        state=TurnState.INTERRUPTED,
        reason="crash",
        last=finished_seq,
        now=now,
        usage=None,
        timings=None,
        error=None,
    )
    sessions.add_finish(unit, now=now, last=finished_seq, messages=1 if text else 0, prompt=0, completion=0)
    sessions.add_reserve(unit, reserved=finished_seq + BLOCK)
    snapshot = {"turn_id": turn.turn_id, "message_id": turn.message_id, "text": text}
    finished = {
        "status": TurnState.INTERRUPTED.value,
        "reason": "crash",
        "turn_id": turn.turn_id,
        "message_id": message_id,
        "usage": None,
        "timings": None,
    }
    for seq, kind, fields in (
        (snapshot_seq, EventKind.SNAPSHOT, snapshot),
        (finished_seq, EventKind.TURN_FINISHED, finished),
    ):
        events.add_fact(
            unit, seq=seq, kind=kind.value, turn_id=turn.turn_id, fact=fact_json(kind, fields), created_ms=now
        )
    if text:
        messages.add_append(
            unit,
            Message(
                turn.message_id,
                turn.session_id,
                turn.turn_id,
                "assistant",
                text,
                TurnState.INTERRUPTED.value,
                finished_seq,
                now,
            ),
        )
    return unit
