"""Sessions in the database: statements for units of work, and queries that give back domain objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import orjson
from sqlalchemy import Case, Column, Connection, and_, bindparam, case, delete, func, insert, or_, select, update

from app.domain.session import Session, SessionStatus
from app.domain.webhook import Webhook
from app.storage import personal, tables
from app.storage.counts import credible, read_count
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.personal import OwnerKind

_s = tables.sessions
_id = _s.c.session_id == bindparam("the_session")

_CREATE = insert(_s)


def _at_least(column: Column[int], name: str) -> Case[int]:
    """The parameter, but never less than the column has: units may be written out of the order of their numbers."""
    return case((column < bindparam(name), bindparam(name)), else_=column)


# Every change of a session has a condition: a terminated session has no row, and one that another server has taken
# over has another epoch.
_CHANGE = (
    update(_s)
    .where(_id, _s.c.epoch == bindparam("the_epoch"))
    .values(
        active_ms=func.coalesce(bindparam("now", type_=_s.c.active_ms.type), _s.c.active_ms),
        last_seq=_at_least(_s.c.last_seq, "last"),
        reserved_seq=_at_least(_s.c.reserved_seq, "reserved"),
        message_count=_s.c.message_count + bindparam("messages"),
        prompt_tokens=credible(_s.c.prompt_tokens) + bindparam("prompt"),
        completion_tokens=credible(_s.c.completion_tokens) + bindparam("completion"),
    )
)
_CHANGE_ACTIVE = _CHANGE.where(_s.c.status == "active")
_REMEMBERED = update(_s).where(_id, _s.c.remembered_seq <= bindparam("upto")).values(remembered_seq=bindparam("upto"))
_DESCRIBE = update(_s).where(_id).values(title=bindparam("new_title"), metadata=bindparam("new_metadata"))
_END = (
    update(_s)
    .where(_id)
    .values(
        status=bindparam("new_status"),
        ending=bindparam("new_ending"),
        ended_ms=bindparam("new_ended_ms"),
    )
)
_TOMBSTONE = insert(tables.tombstones)
_AMEND = (
    update(tables.tombstones)
    .where(tables.tombstones.c.id_hash == bindparam("the_hash"))
    .values(receipt=bindparam("new_receipt"))
)
_ERASE = [
    delete(table).where(table.c.session_id == bindparam("the_session"))
    for table, _ in personal.owned_by(tables.metadata, OwnerKind.SESSION)
]
_STATUS = {status.value: status for status in SessionStatus}
_SESSION = [column for column in _s.columns if column.name != "owner"]
"""What a `Session` holds; which replica works on it is no part of it."""
_FIND = select(*_SESSION).where(_s.c.session_id == bindparam("the_session"))
_FIND_TOMBSTONE = select(tables.tombstones).where(tables.tombstones.c.id_hash == bindparam("the_hash"))


def create(session: Session, *, owner: str | None = None) -> UnitOfWork:
    """`owner`: the replica that makes it, where several servers share the database."""
    unit = UnitOfWork(session.session_id)
    unit.add(
        _CREATE,
        {
            "session_id": session.session_id,
            "agent": session.agent,
            "principal": session.principal,
            "user_id": session.user_id,
            "status": session.status.value,
            "ending": None,
            "title": session.title,
            "metadata": orjson.dumps(session.metadata).decode(),
            "created_ms": session.created_ms,
            "active_ms": session.active_ms,
            "ended_ms": None,
            "last_seq": session.last_seq,
            "reserved_seq": session.reserved_seq,
            "floor_seq": session.floor_seq,
            "message_count": session.message_count,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "forked_from": session.forked_from,
            "remembered_seq": session.remembered_seq,
            "parent_call": session.parent_call,
            "webhooks": orjson.dumps([one.to_json() for one in session.webhooks]).decode()
            if session.webhooks
            else None,
            "owner": owner,
            "epoch": session.epoch,
        },
    )
    return unit


def add_change(
    unit: UnitOfWork,
    *,
    now: int | None,
    last: int,
    reserved: int,
    messages: int = 0,
    prompt: int = 0,
    completion: int = 0,
    epoch: int = 0,
    requires_active: bool = False,
    is_required: bool = True,
) -> None:
    """Update the session's row before the unit's other statements: the highest numbers and the counters.

    `now`: the new time of activity; `None` keeps the old one. The unit fails when the session was deleted or taken over
    (unless `is_required` is false) and, with `requires_active`, when its status is not active.
    """
    values = {
        "the_session": unit.session_id,
        "now": now,
        "last": last,
        "reserved": reserved,
        "messages": messages,
        "prompt": prompt,
        "completion": completion,
        "the_epoch": epoch,
    }
    unit.steps.insert(0, (_CHANGE_ACTIVE if requires_active else _CHANGE, values, 1 if is_required else None))


def add_remembered(unit: UnitOfWork, *, upto: int) -> None:
    """Store that long-term memory has the messages up to number `upto`; the unit fails if the session was deleted."""
    unit.add(_REMEMBERED, {"the_session": unit.session_id, "upto": upto}, expect=1)


def add_describe(unit: UnitOfWork, *, title: str | None, metadata: dict[str, object]) -> None:
    unit.add(
        _DESCRIBE,
        {
            "the_session": unit.session_id,
            "new_title": title,
            "new_metadata": orjson.dumps(metadata).decode(),
        },
        expect=1,
    )


def add_end(unit: UnitOfWork, *, status: SessionStatus, ending: SessionStatus | None, ended_ms: int | None) -> None:
    """Set the status; while a turn is open, `ending` is the status the session gets after the turn."""
    values = {
        "the_session": unit.session_id,
        "new_status": status.value,
        "new_ending": ending.value if ending else None,
        "new_ended_ms": ended_ms,
    }
    unit.add(_END, values, expect=1)


def add_tombstone(unit: UnitOfWork, *, id_hash: bytes, owner_hash: bytes, agent: str, receipt: dict[str, Any]) -> None:
    """Insert a tombstone; it has no title, user or text."""
    unit.add(
        _TOMBSTONE,
        {
            "id_hash": id_hash,
            "owner_hash": owner_hash,
            "agent": agent,
            "receipt": orjson.dumps(receipt).decode(),
        },
    )


def add_erase(unit: UnitOfWork) -> None:
    """Delete every row of the session."""
    for statement in _ERASE:
        unit.add(statement, {"the_session": unit.session_id})


def add_amend(unit: UnitOfWork, *, id_hash: bytes, receipt: dict[str, Any]) -> None:
    """Replace the receipt on a tombstone by the complete one."""
    unit.add(_AMEND, {"the_hash": id_hash, "new_receipt": orjson.dumps(receipt).decode()})


def find(connection: Connection, session_id: str) -> Session | None:
    row = connection.execute(_FIND, {"the_session": session_id}).first()
    return _session(row) if row is not None else None


def find_tombstone(connection: Connection, id_hash: bytes) -> tuple[bytes, dict[str, Any]] | None:
    """(owner hash, stop receipt) of a terminated session."""
    row = connection.execute(_FIND_TOMBSTONE, {"the_hash": id_hash}).first()
    return (row.owner_hash, orjson.loads(row.receipt)) if row is not None else None


def agent_of_tombstone(connection: Connection, id_hash: bytes) -> str | None:
    """The agent of a terminated session."""
    row = connection.execute(_FIND_TOMBSTONE, {"the_hash": id_hash}).first()
    return row.agent if row is not None else None


def list_page(
    connection: Connection,
    *,
    principal: str,
    agent: str,
    user_id: str | None,
    status: str | None,
    order: Literal["creation", "activity"],
    before: tuple[int, str] | None,
    limit: int,
) -> list[Session]:
    """Sessions, newest first; `before` is the (time, id) of the last session of the previous page.

    Those that calls of agents began are not listed.
    """
    time = _s.c.created_ms if order == "creation" else _s.c.active_ms
    query = select(*_SESSION).where(_s.c.principal == principal, _s.c.agent == agent, _s.c.parent_call.is_(None))
    if user_id is not None:
        query = query.where(_s.c.user_id == user_id)
    if status is not None:
        query = query.where(_s.c.status == status)
    if before is not None:
        query = query.where(or_(time < before[0], and_(time == before[0], _s.c.session_id < before[1])))
    rows = connection.execute(query.order_by(time.desc(), _s.c.session_id.desc()).limit(limit))
    return [_session(row) for row in rows]


def owned(
    connection: Connection, *, principal: str, agent: str, user_id: str | None, session_ids: Sequence[str]
) -> set[str]:
    """Which of the sessions are this owner's."""
    query = select(_s.c.session_id).where(
        _s.c.session_id.in_(session_ids), _s.c.principal == principal, _s.c.agent == agent
    )
    if user_id is not None:
        query = query.where(_s.c.user_id == user_id)
    return set(connection.execute(query).scalars())


def count_open(connection: Connection, *, principal: str, user_id: str | None) -> int:
    """How many active sessions a user has; `None`: all users of the principal."""
    active = and_(_s.c.principal == principal, _s.c.status == "active")
    if user_id is not None:
        active = and_(active, _s.c.user_id == user_id)
    return int(connection.execute(select(func.count()).select_from(_s).where(active)).scalar() or 0)


def due_for_expiry(
    connection: Connection, *, idle_before: int | None, created_before: int | None, limit: int
) -> list[str]:
    conditions = []
    if idle_before is not None:
        conditions.append(_s.c.active_ms < idle_before)
    if created_before is not None:
        conditions.append(_s.c.created_ms < created_before)
    rows = connection.execute(
        select(_s.c.session_id).where(_s.c.status == "active", _s.c.ending.is_(None), or_(*conditions)).limit(limit)
    )
    return list(rows.scalars())


def over_not_remembered(connection: Connection, *, agents: Sequence[str], ended_after: int, limit: int) -> list[str]:
    """Sessions that ended or expired after `ended_after` and have messages that long-term memory lacks."""
    rows = connection.execute(
        select(_s.c.session_id)
        .where(
            _s.c.status.in_(("ended", "expired")),
            _s.c.ended_ms > ended_after,
            _s.c.agent.in_(agents),
            _s.c.remembered_seq < _s.c.last_seq,
        )
        .order_by(_s.c.ended_ms.desc())
        .limit(limit)
    )
    return list(rows.scalars())


def over_before(connection: Connection, *, over_before: int, limit: int) -> list[str]:
    """Sessions that ended or expired before `over_before`."""
    rows = connection.execute(
        select(_s.c.session_id).where(_s.c.status.in_(("ended", "expired")), _s.c.ended_ms < over_before).limit(limit)
    )
    return list(rows.scalars())


def ending(connection: Connection) -> list[str]:
    """Active sessions that are to end when their open turn has ended."""
    return list(
        connection.execute(select(_s.c.session_id).where(_s.c.status == "active", _s.c.ending.is_not(None))).scalars()
    )


def _session(row: Sequence[Any]) -> Session:
    # Unpacked by position, in the order of _SESSION: access by name takes half the time of a list of 50.
    (
        session_id,
        agent,
        principal,
        user_id,
        status,
        ending,
        title,
        metadata,
        created_ms,
        active_ms,
        ended_ms,
        last_seq,
        reserved_seq,
        floor_seq,
        message_count,
        prompt_tokens,
        completion_tokens,
        forked_from,
        remembered_seq,
        parent_call,
        epoch,
        webhooks,
    ) = row
    return Session(
        session_id,
        agent,
        principal,
        user_id,
        _STATUS[status],
        False,
        title,
        {} if metadata == "{}" else orjson.loads(metadata),
        created_ms,
        active_ms,
        ended_ms,
        _STATUS[ending] if ending else None,
        last_seq,
        reserved_seq,
        floor_seq,
        message_count,
        read_count(prompt_tokens),
        read_count(completion_tokens),
        forked_from,
        remembered_seq,
        parent_call,
        tuple([Webhook.from_json(one) for one in orjson.loads(webhooks)]) if webhooks else (),
        epoch,
    )
