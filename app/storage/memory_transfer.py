"""Memories in bulk: copies for a fork, pages for an export, units for an import, counts for a new embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, exists, func, insert, not_, select

from app.domain.ids import NewId
from app.domain.memory import Memory, Owner
from app.storage import memories, tables
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned

_m, _v, _old = tables.memories, tables.memory_vectors, tables.memory_versions
_messages = tables.messages

Version = tuple[int, str, int]
"""(number, text, when it was replaced) of an earlier text."""


@dataclass(slots=True)
class Imported:
    """How many memories were stored; counted when their units are written. The others existed already."""

    stored: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A memory to be stored, with its stems and earlier texts."""

    memory: Memory
    terms: Sequence[str]
    versions: Sequence[Version] = ()


def copy(unit: UnitOfWork, *, source: str, upto: int, audiences: tuple[str, str], new_id: NewId) -> None:
    """Copy for the unit's session, a fork, what only session `source` remembers of its messages up to number `upto`.

    `audiences`: that of the source, and that of the fork. The vectors are made afterwards, in the background.
    """
    kept = select(_messages.c.message_id).where(_messages.c.session_id == source, _messages.c.seq <= upto)
    query = (
        select(_m)
        .where(_m.c.session_id == source, _m.c.audience == audiences[0], _m.c.message_id.in_(kept))
        .order_by(_m.c.place)
    )

    def add(connection: Connection) -> None:
        rows = [dict(row._mapping) for row in connection.execute(query)]
        for place, row in enumerate(rows):
            del row["row"]
            row["memory_id"] = new_id("memory")
            row |= {"session_id": unit.session_id, "audience": audiences[1], "place": place}
        if rows:
            connection.execute(insert(_m), rows)

    unit.calls.append(add)


def read_page(
    connection: Connection, owned: Owned, *, after: int, limit: int
) -> Sequence[tuple[Memory, Sequence[Version]]]:
    """Memories in rows after `after`, with their earlier texts, oldest first."""
    query = select(_m).where(owned.condition(), _m.c.row > after).order_by(_m.c.row).limit(limit)
    found = [memories.from_row(row) for row in connection.execute(query)]
    edited = [memory.memory_id for memory in found if memory.version > 1]
    versions: dict[str, list[Version]] = {}
    for row in connection.execute(select(_old).where(_old.c.memory_id.in_(edited)).order_by(_old.c.version)):
        versions.setdefault(row.memory_id, []).append((row.version, row.text, row.created_ms))
    return [(memory, versions.get(memory.memory_id, [])) for memory in found]


def import_drafts(unit: UnitOfWork, drafts: Sequence[Draft], imported: Imported) -> None:
    """Store memories of the unit's session, except those whose id or message exists already."""

    def add(connection: Connection) -> None:
        ids = [draft.memory.memory_id for draft in drafts]
        taken = set(connection.execute(select(_m.c.memory_id).where(_m.c.memory_id.in_(ids))).scalars())
        fresh = [draft for draft in drafts if draft.memory.memory_id not in taken]
        stored = memories.insert_drafts(connection, unit.session_id, [(one.memory, one.terms) for one in fresh])
        imported.stored += len(stored)
        rows = [
            {"memory_id": one.memory.memory_id, "version": number, "text": text, "created_ms": created_ms}
            for one in fresh
            if one.memory.memory_id in stored
            for number, text, created_ms in one.versions
        ]
        if rows:
            connection.execute(insert(_old), rows)

    unit.calls.append(add)


def find_foreign_ids(connection: Connection, ids: Sequence[str], owner: Owner) -> set[str]:
    """Which of the ids are memories of another principal, agent or user."""
    is_own = and_(_m.c.principal == owner.principal, _m.c.agent == owner.agent, _m.c.user_id == owner.user_id)
    return set(connection.execute(select(_m.c.memory_id).where(_m.c.memory_id.in_(ids), not_(is_own))).scalars())


def list_audiences(connection: Connection, owned: Owned, *, limit: int) -> list[str]:
    """The audiences of the memories, those of the newest memories first."""
    newest = func.max(_m.c.row)
    query = select(_m.c.audience).where(owned.condition()).group_by(_m.c.audience).order_by(newest.desc()).limit(limit)
    return list(connection.execute(query).scalars())


def count(connection: Connection, owned: Owned, *, model: str) -> tuple[int, int]:
    """The number of memories, and the number of those with a vector of the model."""
    of_model = exists().where(_v.c.row == _m.c.row, _v.c.model == model)
    total = select(func.count()).select_from(_m).where(owned.condition())
    return (
        int(connection.execute(total).scalar() or 0),
        int(connection.execute(total.where(of_model)).scalar() or 0),
    )


def remove_vectors(unit: UnitOfWork, owned: Owned, *, keep_model: str | None) -> None:
    """Remove the vectors of memories, except those of one model."""
    condition = _v.c.row.in_(select(_m.c.row).where(owned.condition()))
    unit.add(delete(_v).where(condition if keep_model is None else and_(condition, _v.c.model != keep_model)), {})
