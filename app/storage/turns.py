"""Turns and their idempotency keys in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, and_, bindparam, exists, insert, or_, select, update

from app.domain.turn import Failure, Outcome, Timings, Turn, TurnState, Usage
from app.storage import tables
from app.storage.counts import read_count
from app.storage.engine.unit_of_work import UnitOfWork

_t = tables.turns
_i = tables.idempotency
_m = tables.messages
_id = _t.c.turn_id == bindparam("the_turn")

_OPEN = insert(_t)
_START = (
    update(_t)
    .where(_id, _t.c.state == "queued")
    .values(state="running", started_ms=bindparam("now"), input="", agent_version=bindparam("version"))
)
_FINISH = (
    update(_t)
    .where(_id, _t.c.finished_ms.is_(None))
    .values(
        state=bindparam("new_state"),
        reason=bindparam("new_reason"),
        last_seq=bindparam("last"),
        finished_ms=bindparam("now"),
        usage=bindparam("new_usage"),
        timings=bindparam("new_timings"),
        error=bindparam("new_error"),
        finish_reason=bindparam("new_finish_reason"),
    )
)
_CLOSE = (
    update(_t)
    .where(_id, _t.c.finished_ms.is_(None))
    .values(state="failed", reason="internal", last_seq=bindparam("last"), finished_ms=bindparam("now"))
)
_USED = update(_t).where(_id, _t.c.finished_ms.is_(None)).values(usage=bindparam("so_far"))
_MESSAGE_ID = update(_t).where(_id, _t.c.finished_ms.is_(None)).values(message_id=bindparam("next_message"))
_WAIT = update(_t).where(_id, _t.c.state == "running").values(state="waiting", waiting_for=bindparam("what"))
_GO_ON = (
    update(_t).where(_id, _t.c.finished_ms.is_(None), _t.c.state != "queued").values(state="running", waiting_for=None)
)
_ABSORBED = (
    update(_t)
    .where(_id, _t.c.state == "queued")
    .values(
        state=bindparam("new_state"),
        reason=bindparam("new_reason"),
        last_seq=bindparam("last"),
        started_ms=bindparam("now"),
        finished_ms=bindparam("now"),
        input="",
    )
)
_MEMORY = update(_t).where(_id).values(memory=bindparam("new_memory"))
_INSERT_KEY = insert(_i)
_FIND = select(_t).where(_t.c.session_id == bindparam("the_session"), _id)
_FIND_KEY = select(_i).where(_i.c.session_id == bindparam("the_session"), _i.c.key == bindparam("the_key"))
_UNFINISHED = select(_t).where(_t.c.finished_ms.is_(None)).order_by(_t.c.place)


def add_open(unit: UnitOfWork, turn: Turn, *, place: int) -> None:
    """Insert a turn, queued or running. `place` orders the queue of a session, smallest first.

    Only a queued turn stores its text here: once it runs, its message row holds the text.
    The unique index refuses a second open turn: the unit then fails with `WriteConflict`.
    """
    unit.add(
        _OPEN,
        {
            "turn_id": turn.turn_id,
            "session_id": turn.session_id,
            "state": turn.state.value,
            "reason": None,
            "background": int(turn.background),
            "place": place,
            "input": turn.text if turn.state is TurnState.QUEUED else "",
            "user_message_id": turn.user_message_id,
            "message_id": turn.message_id,
            "first_seq": turn.first_seq,
            "last_seq": None,
            "created_ms": turn.created_ms,
            "started_ms": turn.started_ms,
            "finished_ms": None,
            "usage": None,
            "timings": None,
            "error": None,
            "instructions": turn.instructions,
            "response_format": turn.response_format.decode() if turn.response_format is not None else None,
            "memory": None,
            "agent_version": turn.agent_version,
        },
    )


def add_start(unit: UnitOfWork, turn_id: str, *, now: int, version: str | None) -> None:
    """Set a queued turn to running and clear its copy of the message; the unit fails if it is no longer queued."""
    unit.add(_START, {"the_turn": turn_id, "now": now, "version": version}, expect=1)


def add_finish(unit: UnitOfWork, outcome: Outcome, *, last: int, now: int) -> None:
    """Set the terminal state; the unit fails if the turn already has one or was deleted. `last`: its last event."""
    usage, timings, failure = outcome.usage, outcome.timings, outcome.failure
    unit.add(
        _FINISH,
        {
            "the_turn": outcome.turn_id,
            "new_state": outcome.state.value,
            "new_reason": outcome.reason,
            "last": last,
            "now": now,
            "new_usage": _json(usage.to_json()) if usage is not None else None,
            "new_timings": _json(timings.to_json()) if timings is not None else None,
            "new_error": _json(failure.to_json()) if failure is not None else None,
            "new_finish_reason": outcome.finish_reason,
        },
        expect=1,
    )


def add_used(unit: UnitOfWork, turn_id: str, usage: Usage) -> None:
    """Store what an open turn has used so far."""
    unit.add(_USED, {"the_turn": turn_id, "so_far": _json(usage.to_json())})


def add_message_id(unit: UnitOfWork, turn_id: str, message_id: str) -> None:
    """Give an open turn the id of the message that it says next."""
    unit.add(_MESSAGE_ID, {"the_turn": turn_id, "next_message": message_id})


def add_wait(unit: UnitOfWork, turn_id: str, *, waiting_for: str) -> None:
    """Set a running turn to waiting; the unit fails if it does not run."""
    unit.add(_WAIT, {"the_turn": turn_id, "what": waiting_for}, expect=1)


def add_go_on(unit: UnitOfWork, turn_id: str) -> None:
    """Set a waiting turn, or a running one of the process before, to running; the unit fails if it is over."""
    unit.add(_GO_ON, {"the_turn": turn_id}, expect=1)


def add_absorbed(unit: UnitOfWork, outcome: Outcome, *, last: int, now: int) -> None:
    """End a queued turn whose message has entered another one; the unit fails if it is not queued."""
    values = {"the_turn": outcome.turn_id, "new_state": outcome.state.value, "new_reason": outcome.reason}
    unit.add(_ABSORBED, values | {"last": last, "now": now}, expect=1)


def add_close(unit: UnitOfWork, turn_id: str, *, last: int, now: int) -> None:
    """Mark a turn failed whose end could not be stored; nothing if it has an end. `last`: its last event."""
    unit.add(_CLOSE, {"the_turn": turn_id, "last": last, "now": now})


def add_memory(unit: UnitOfWork, turn_id: str, memory: dict[str, Any]) -> None:
    """Store what the turn recalled."""
    unit.add(_MEMORY, {"the_turn": turn_id, "new_memory": _json(memory)})


def add_key(unit: UnitOfWork, *, key: str, body_hash: bytes, turn_id: str, now: int) -> None:
    unit.add(
        _INSERT_KEY,
        {
            "session_id": unit.session_id,
            "key": key,
            "body_hash": body_hash,
            "turn_id": turn_id,
            "created_ms": now,
        },
    )


def find(connection: Connection, session_id: str, turn_id: str) -> Turn | None:
    row = connection.execute(_FIND, {"the_session": session_id, "the_turn": turn_id}).first()
    return turn_of(row) if row is not None else None


def find_first(connection: Connection, session_id: str) -> Turn | None:
    """The first turn of a session."""
    query = select(_t).where(_t.c.session_id == session_id).order_by(_t.c.place).limit(1)
    row = connection.execute(query).first()
    return turn_of(row) if row is not None else None


def some_wait(connection: Connection, session_ids: Sequence[str]) -> bool:
    """Whether a turn of one of the sessions waits for somebody."""
    query = select(_t.c.turn_id).where(_t.c.session_id.in_(session_ids), _t.c.state == "waiting").limit(1)
    return connection.execute(query).first() is not None


def find_at(connection: Connection, session_id: str, seq: int, text: str) -> Turn | None:
    """The finished turn that event `seq` belongs to or directly follows, if its user message is `text`."""
    is_message = and_(_m.c.session_id == _t.c.session_id, _m.c.message_id == _t.c.user_message_id)
    asks = or_(and_(_t.c.started_ms.is_(None), _t.c.input == text), exists().where(is_message, _m.c.content == text))
    row = connection.execute(
        select(_t)
        .where(_t.c.session_id == session_id, _t.c.first_seq <= seq, _t.c.last_seq >= seq - 1, asks)
        .order_by(_t.c.last_seq.desc())
        .limit(1)
    ).first()
    return turn_of(row) if row is not None else None


def find_key(connection: Connection, session_id: str, key: str) -> tuple[bytes, str] | None:
    """(hash of the body, turn id) of the request that used a key."""
    row = connection.execute(_FIND_KEY, {"the_session": session_id, "the_key": key}).first()
    return (row.body_hash, row.turn_id) if row is not None else None


def unfinished(connection: Connection) -> list[Turn]:
    """Every turn without a terminal state, in the order of the queues."""
    return [turn_of(row) for row in connection.execute(_UNFINISHED)]


def unfinished_of(connection: Connection, session_id: str) -> list[Turn]:
    """Those of one session."""
    query = _UNFINISHED.where(_t.c.session_id == session_id)
    return [turn_of(row) for row in connection.execute(query)]


def _json(value: Mapping[str, object]) -> str:
    return orjson.dumps(value).decode()


def _object(value: str | None) -> dict[str, Any] | None:
    return None if value is None else orjson.loads(value)


def turn_of(row: Row[Any]) -> Turn:
    """A row of the table as the turn it stores."""
    return Turn(
        turn_id=row.turn_id,
        session_id=row.session_id,
        state=TurnState(row.state),
        reason=row.reason,
        background=bool(row.background),
        text=row.input,
        user_message_id=row.user_message_id,
        message_id=row.message_id,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        created_ms=row.created_ms,
        started_ms=row.started_ms,
        finished_ms=row.finished_ms,
        usage=_usage(_object(row.usage)),
        timings=_timings(_object(row.timings)),
        failure=_failure(_object(row.error)),
        instructions=row.instructions,
        memory=_object(row.memory),
        finish_reason=row.finish_reason,
        waiting_for=row.waiting_for,
        response_format=row.response_format.encode() if row.response_format is not None else None,
        agent_version=row.agent_version,
    )


def _usage(found: dict[str, Any] | None) -> Usage | None:
    if not isinstance(found, dict):
        return None
    prompt, completion = read_count(found.get("prompt_tokens")), read_count(found.get("completion_tokens"))
    return Usage(prompt, completion, found.get("source", "provider"))


def _timings(found: dict[str, Any] | None) -> Timings | None:
    return None if found is None else Timings(found["queued_ms"], found["first_token_ms"], found["total_ms"])


def _failure(found: dict[str, Any] | None) -> Failure | None:
    if found is None:
        return None
    return Failure(found["reason"], found["message"], found.get("detail"), found.get("provider_status"))
