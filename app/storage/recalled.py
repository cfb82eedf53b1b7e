"""Find and remove what turns recalled, in their records and events, by the memories and sessions it came from."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, delete, select, update

from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

_s, _t, _e = tables.sessions, tables.turns, tables.events
_SOURCES = re.compile(r'"(?:memory_id|session_id)":"([^"]*)"')
PAGE = 1000
KINDS = ("memory", "debug")
"""Events that show an excerpt of what was recalled."""


@dataclass(frozen=True, slots=True)
class Told:
    """A turn that recalled something to be forgotten, and its record without it."""

    session_id: str
    turn_id: str
    record: str


def find(connection: Connection, agent: str, sources: Collection[str]) -> list[Told]:
    """Turns of an agent that recalled a memory with one of these ids, or one from a session with one of these ids.

    Turns of all users are searched: with storage scope `all` they recall each other's memories.
    """
    wanted, found, after = frozenset(sources), [], ""
    query = (
        select(_t.c.turn_id, _t.c.session_id, _t.c.memory)
        .join(_s, _s.c.session_id == _t.c.session_id)
        .where(_s.c.agent == agent, _t.c.memory.is_not(None))
        .order_by(_t.c.turn_id)
        .limit(PAGE)
    )
    while rows := connection.execute(query.where(_t.c.turn_id > after)).all():
        after = rows[-1].turn_id
        for row in rows:
            if not wanted.isdisjoint(_SOURCES.findall(row.memory)):
                record = orjson.dumps(without(orjson.loads(row.memory), wanted)).decode()
                found.append(Told(row.session_id, row.turn_id, record))
    return found


def without(record: dict[str, object], sources: Collection[str]) -> dict[str, object]:
    """A turn's record of what it recalled, without the memories with these ids or from sessions with these ids."""
    told = record.get("memories")
    if not isinstance(told, list):
        return record
    kept = [one for one in told if one.get("memory_id") not in sources and one.get("session_id") not in sources]
    return {**record, "memories": kept}


def add_removal(unit: UnitOfWork, told: Told) -> None:
    """Store the turn's record without what is forgotten, and delete its events that showed an excerpt."""
    unit.add(update(_t).where(_t.c.turn_id == told.turn_id).values(memory=told.record), {})
    shown = (_e.c.session_id == told.session_id, _e.c.turn_id == told.turn_id, _e.c.kind.in_(KINDS))
    unit.add(delete(_e).where(*shown), {})
