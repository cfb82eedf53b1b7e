"""Memories in the database: units that insert, edit, pin and delete; queries, each with an audience or owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sql
from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, exists, select, update

from app.domain.memory import Memory, Owner
from app.storage import personal, tables
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict
from app.storage.personal import OwnerKind

_m, _v, _old = tables.memories, tables.memory_vectors, tables.memory_versions
_OF_MEMORIES = personal.owned_by(tables.metadata, OwnerKind.MEMORY)

_ADD = sql.insert(_m)
_KEEP_OLD = sql.insert(_old).from_select(
    ["memory_id", "version", "text", "created_ms"],
    select(_m.c.memory_id, _m.c.version, _m.c.text, bindparam("now")).where(_m.c.memory_id == bindparam("the_memory")),
)
_PIN = update(_m).where(_m.c.memory_id == bindparam("the_memory")).values(pinned=bindparam("is_pinned"))
# A vector that arrives after its memory was deleted finds no row to belong to.
_ADD_VECTOR = sql.insert(_v).from_select(
    ["row", "model", "audience", "vector", "pieces"],
    select(
        _m.c.row,
        bindparam("the_model", type_=_v.c.model.type),
        _m.c.audience,
        bindparam("the_vector", type_=_v.c.vector.type),
        bindparam("the_pieces", type_=_v.c.pieces.type),
    ).where(
        _m.c.row == bindparam("the_row"),
        ~exists().where(_v.c.row == bindparam("the_row"), _v.c.model == bindparam("the_model")),
    ),
)
_WITHOUT_VECTOR = (
    select(_m)
    .where(_m.c.row > bindparam("after"), ~exists().where(_v.c.row == _m.c.row, _v.c.model == bindparam("the_model")))
    .order_by(_m.c.row)
    .limit(bindparam("at_most"))
)
_SPEAKERS = (
    select(_m.c.session_id, _m.c.speaker).distinct().where(_m.c.session_id.in_(bindparam("sessions", expanding=True)))
)


@dataclass(frozen=True, slots=True)
class Owned:
    """A selection of one principal's memories of an agent. Fields that are not `None` are combined with AND.

    Memories of other principals are never selected.
    """

    agent: str
    principal: str
    user_id: str | None = None
    session_id: str | None = None
    memory_ids: tuple[str, ...] | None = None
    kind: str | None = None
    created_before_ms: int | None = None

    def condition(self) -> ColumnElement[bool]:
        parts: list[ColumnElement[bool]] = [_m.c.principal == self.principal, _m.c.agent == self.agent]
        if self.user_id is not None:
            parts.append(_m.c.user_id == self.user_id)
        if self.session_id is not None:
            parts.append(_m.c.session_id == self.session_id)
        if self.memory_ids is not None:
            parts.append(_m.c.memory_id.in_(self.memory_ids))
        if self.kind is not None:
            parts.append(_m.c.kind == self.kind)
        if self.created_before_ms is not None:
            parts.append(_m.c.created_ms < self.created_before_ms)
        return and_(*parts)


@dataclass(slots=True)
class Removed:
    """How many rows were removed, by kind as receipts name it; filled in when the unit is written."""

    counts: Counter[str] = field(default_factory=Counter)
    audiences: set[str] = field(default_factory=set)

    @property
    def memories(self) -> int:
        return self.counts["memories"]

    @property
    def vectors(self) -> int:
        return self.counts["vectors"]

    @property
    def versions(self) -> int:
        return self.counts["versions"]


Terms: TypeAlias = Sequence[str] | Callable[[], Sequence[str]]
"""The stems of a text, or what finds them when they are written: in the writer's thread, for a long text."""


def insert(unit: UnitOfWork, drafts: Sequence[tuple[Memory, Terms]]) -> None:
    """Store memories of the unit's session with their terms, in order; skips messages that have a memory already.

    `place` and `row` are assigned when the unit is written.
    """

    unit.calls.append(lambda connection: insert_drafts(connection, unit.session_id, drafts))


def insert_drafts(connection: Connection, session_id: str, drafts: Sequence[tuple[Memory, Terms]]) -> set[str]:
    """What `insert` does when its unit is written; returns the ids of the memories that were stored."""
    place, known = _state(connection, session_id)
    rows = []
    for memory, terms in drafts:
        if memory.message_id is not None and memory.message_id in known:
            continue
        rows.append(_values(memory, terms, place))
        place += 1
    if rows:
        connection.execute(_ADD, rows)
    return {row["memory_id"] for row in rows}


def _state(connection: Connection, session_id: str) -> tuple[int, set[str]]:
    """The next place of a session, and the newest 256 messages that have a memory."""
    query = (
        select(_m.c.place, _m.c.message_id).where(_m.c.session_id == session_id).order_by(_m.c.place.desc()).limit(256)
    )
    rows = connection.execute(query).all()
    return (rows[0].place + 1 if rows else 0), {row.message_id for row in rows if row.message_id}


def edit(unit: UnitOfWork, memory: Memory, *, text: str, terms: Sequence[str], now: int) -> None:
    """Replace the text of a memory: a new row and version; the old text is kept as a version, its vectors are deleted.

    Fails the unit (WriteConflict) when the memory is gone.
    """

    def replace(connection: Connection) -> None:
        row = connection.execute(select(_m).where(_m.c.memory_id == memory.memory_id)).first()
        if row is None:
            raise WriteConflict(f"memory {memory.memory_id} is gone")
        connection.execute(_KEEP_OLD, {"the_memory": memory.memory_id, "now": now})
        _delete_vectors(connection, _m.c.memory_id == memory.memory_id)
        connection.execute(sql.delete(_m).where(_m.c.memory_id == memory.memory_id))
        values = dict(row._mapping)
        del values["row"]
        values |= {"text": text, "terms": " ".join(terms), "version": row.version + 1}
        connection.execute(_ADD, [values])

    unit.calls.append(replace)


def add_pin(unit: UnitOfWork, memory_id: str, *, is_pinned: bool) -> None:
    unit.add(_PIN, {"the_memory": memory_id, "is_pinned": int(is_pinned)}, expect=1)


def add_vector(unit: UnitOfWork, *, row: int, model: str, vector: bytes, pieces: bytes | None) -> None:
    unit.add(_ADD_VECTOR, {"the_row": row, "the_model": model, "the_vector": vector, "the_pieces": pieces})


def delete(unit: UnitOfWork, owned: Owned) -> Removed:
    """Delete memories with their vectors, earlier versions and full text."""
    return _delete(unit, owned.condition())


def delete_of_session(unit: UnitOfWork, *, audience: str | None = None) -> Removed:
    """Delete the memories of the unit's session: all, or those of one audience."""
    condition: ColumnElement[bool] = _m.c.session_id == unit.session_id
    return _delete(unit, condition if audience is None else and_(condition, _m.c.audience == audience))


def delete_of_message(unit: UnitOfWork, message_id: str) -> Removed:
    """Delete the memory of one message of the unit's session."""
    return _delete(unit, and_(_m.c.session_id == unit.session_id, _m.c.message_id == message_id))


def delete_summaries(unit: UnitOfWork) -> Removed:
    """Delete the summaries of the unit's session, except edited and pinned ones."""
    is_ours = and_(_m.c.session_id == unit.session_id, _m.c.kind == "summary")
    return _delete(unit, and_(is_ours, _m.c.version == 1, _m.c.pinned == 0))


def delete_expired(unit: UnitOfWork, *, agent: str, before_ms: int) -> Removed:
    """Delete an agent's memories older than a time, except pinned ones."""
    return _delete(unit, and_(_m.c.agent == agent, _m.c.created_ms < before_ms, _m.c.pinned == 0))


def delete_oldest(unit: UnitOfWork, *, audience: str, keep: int) -> Removed:
    """Delete all but an audience's `keep` newest memories and its pinned ones."""
    last = select(_m.c.row).where(_m.c.audience == audience).order_by(_m.c.row.desc()).offset(keep).limit(1)
    bound = last.scalar_subquery()
    return _delete(unit, and_(_m.c.audience == audience, _m.c.row <= bound, _m.c.pinned == 0))


def _delete(unit: UnitOfWork, condition: ColumnElement[bool]) -> Removed:
    removed = Removed()

    def remove(connection: Connection) -> None:
        found = connection.execute(select(_m.c.row, _m.c.memory_id, _m.c.audience).where(condition)).all()
        rows, ids = [row.row for row in found], [row.memory_id for row in found]
        removed.audiences = {row.audience for row in found}
        removed.counts.clear()  # a batch may be written twice
        for start in range(0, len(rows), 500):
            part = slice(start, start + 500)
            for table, whose in _OF_MEMORIES:
                key = personal.memory_key(table)
                doomed = key.in_(ids[part] if key.name == "memory_id" else rows[part])
                removed.counts[whose.counted] += connection.execute(sql.delete(table).where(doomed)).rowcount

    unit.calls.append(remove)
    return removed


def _delete_vectors(connection: Connection, condition: ColumnElement[bool]) -> None:
    connection.execute(sql.delete(_v).where(_v.c.row.in_(select(_m.c.row).where(condition))))


# -- queries ---------------------------------------------------------------------------------------------------


def find(connection: Connection, owned: Owned) -> Memory | None:
    row = connection.execute(select(_m).where(owned.condition()).limit(1)).first()
    return from_row(row) if row is not None else None


def list_page(connection: Connection, owned: Owned, *, before: int | None, limit: int) -> list[Memory]:
    """A page of memories, newest first. `before`: the row of the last memory of the page before."""
    query = select(_m).where(owned.condition())
    if before is not None:
        query = query.where(_m.c.row < before)
    return [from_row(row) for row in connection.execute(query.order_by(_m.c.row.desc()).limit(limit))]


def versions(connection: Connection, memory_id: str) -> list[tuple[int, str, int]]:
    """(version, text, when it was replaced) of the earlier texts, oldest first."""
    query = select(_old).where(_old.c.memory_id == memory_id).order_by(_old.c.version)
    return [(row.version, row.text, row.created_ms) for row in connection.execute(query)]


def without_vector(connection: Connection, model: str, *, after: int, limit: int) -> list[Memory]:
    """Memories beyond row `after` without a vector of the model, oldest first."""
    parameters = {"the_model": model, "after": after, "at_most": limit}
    return [from_row(row) for row in connection.execute(_WITHOUT_VECTOR, parameters)]


def untrusted(connection: Connection, memory_ids: Sequence[str]) -> list[str]:
    """Those of the memories that anybody may have written."""
    query = select(_m.c.memory_id).where(_m.c.memory_id.in_(memory_ids), _m.c.trust == "web")
    return list(connection.execute(query.order_by(_m.c.memory_id)).scalars())


def speakers(connection: Connection, sessions: Sequence[str]) -> dict[str, set[str]]:
    """The speakers of each session."""
    found: dict[str, set[str]] = {}
    for row in connection.execute(_SPEAKERS, {"sessions": list(sessions)}):
        found.setdefault(row.session_id, set()).add(row.speaker)
    return found


def _values(memory: Memory, terms: Terms, place: int) -> dict[str, Any]:
    owner = memory.owner
    found = terms() if callable(terms) else terms
    return {
        "memory_id": memory.memory_id,
        "audience": memory.audience,
        "kind": memory.kind,
        "agent": owner.agent,
        "principal": owner.principal,
        "user_id": owner.user_id,
        "session_id": owner.session_id,
        "turn_id": memory.turn_id,
        "message_id": memory.message_id,
        "place": place,
        "role": memory.role,
        "speaker": memory.speaker,
        "text": memory.text,
        "terms": " ".join(found),
        "created_ms": memory.created_ms,
        "version": memory.version,
        "pinned": int(memory.is_pinned),
        "trust": memory.trust,
        "secrecy": memory.secrecy,
    }


def from_row(row: Row[Any]) -> Memory:
    return Memory(
        memory_id=row.memory_id,
        owner=Owner(row.agent, row.principal, row.user_id, row.session_id),
        audience=row.audience,
        kind=row.kind,
        role=row.role,
        speaker=row.speaker,
        text=row.text,
        created_ms=row.created_ms,
        turn_id=row.turn_id,
        message_id=row.message_id,
        place=row.place,
        version=row.version,
        is_pinned=bool(row.pinned),
        row=row.row,
        trust=row.trust or "user",
        secrecy=row.secrecy or "private",
    )
