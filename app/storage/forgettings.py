"""What is being forgotten: the wishes in the database, what each is about, and what would be left of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Text, and_, delete, exists, func, insert, select, update

from app.domain.forgetting import FORGOTTEN, Wish
from app.storage import tables, usage
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned

_f, _s, _u = tables.forgettings, tables.sessions, tables.usage
_m, _v = tables.memories, tables.memory_vectors
_COUNTED = {
    "sessions": (tables.sessions,),
    "turns": (tables.turns,),
    "messages": (tables.messages,),
    "events": (tables.events, tables.runs),
    "summaries": (tables.summaries,),
    "idempotency_keys": (tables.idempotency,),
}
PART = 500


_WISH = ("wish_id", "agent", "principal", "created_ms", "user_id", "session_id", "memory_id", "phrase")


def add(unit: UnitOfWork, wish: Wish) -> None:
    unit.add(insert(_f), {**{name: getattr(wish, name) for name in _WISH}, "rows_gone": 0})


def add_rows_gone(unit: UnitOfWork, wish_id: str) -> None:
    """The files are left to clear; from here on the wish does not say what it was."""
    blank = {"agent": "", "principal": "", "user_id": None, "session_id": None, "memory_id": None, "phrase": None}
    unit.add(update(_f).where(_f.c.wish_id == wish_id).values(**blank, rows_gone=1), {})


def add_done(unit: UnitOfWork, wish_id: str) -> None:
    unit.add(delete(_f).where(_f.c.wish_id == wish_id), {})


def unfinished(connection: Connection) -> list[tuple[Wish, bool]]:
    """Wishes, and whether their rows are gone; oldest first."""
    rows = connection.execute(select(_f).order_by(_f.c.created_ms, _f.c.wish_id))
    return [(Wish(*[getattr(row, name) for name in _WISH]), bool(row.rows_gone)) for row in rows]


# -- what it is about --------------------------------------------------------------------------------------------


def owned_sessions(wish: Wish) -> ColumnElement[bool]:
    """The sessions that a wish may touch."""
    conditions = [_owner(wish)]
    if wish.user_id is not None:
        conditions.append(_s.c.user_id == wish.user_id)
    if wish.session_id is not None:
        conditions.append(_s.c.session_id == wish.session_id)
    return and_(*conditions)


def owned_memories(wish: Wish) -> Owned:
    """The memories that a wish may touch."""
    ids = (wish.memory_id,) if wish.memory_id is not None else None
    return Owned(wish.agent, wish.principal, user_id=wish.user_id, session_id=wish.session_id, memory_ids=ids)


def sessions_of(connection: Connection, wish: Wish, *, until_ms: int | None = None) -> list[str]:
    """Ids of the sessions that a wish may touch; `until_ms`: those made by then."""
    query = select(_s.c.session_id).where(owned_sessions(wish)).order_by(_s.c.created_ms)
    if until_ms is not None:
        query = query.where(_s.c.created_ms <= until_ms)
    return list(connection.execute(query).scalars())


@dataclass(frozen=True, slots=True)
class Source:
    """A memory by its ids."""

    memory_id: str
    session_id: str
    message_id: str | None


def sources(connection: Connection, wish: Wish) -> list[Source]:
    """The memories that a wish may touch."""
    query = select(_m.c.memory_id, _m.c.session_id, _m.c.message_id).where(owned_memories(wish).condition())
    return [Source(*row) for row in connection.execute(query)]


def count_rows(connection: Connection, session_ids: Sequence[str]) -> Counter[str]:
    """Rows of sessions, by what they are."""
    found: Counter[str] = Counter()
    for ids in parts(session_ids):
        for name, group in _COUNTED.items():
            for table in group:
                query = select(func.count()).select_from(table).where(table.c.session_id.in_(ids))
                found[name] += int(connection.execute(query).scalar() or 0)
    return found


def message_ids(connection: Connection, session_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    table = tables.messages
    for ids in parts(session_ids):
        found |= set(connection.execute(select(table.c.message_id).where(table.c.session_id.in_(ids))).scalars())
    return found


def forks_of(connection: Connection, wish: Wish, session_ids: Sequence[str]) -> list[str]:
    """Sessions of the same owner that were forked from these, or from one of their forks."""
    known, new = set(session_ids), list(session_ids)
    while new:
        found: list[str] = []
        for ids in parts(new):
            query = select(_s.c.session_id).where(_s.c.forked_from.in_(ids), _owner(wish))
            found += connection.execute(query).scalars()
        new = [session_id for session_id in found if session_id not in known]
        known |= set(new)
    return sorted(known - set(session_ids))


def family_of(connection: Connection, wish: Wish, session_id: str) -> list[str]:
    """A session with those it was forked from, and all their forks: a message may be in any of them."""
    eldest = session_id
    for _ in range(1000):
        query = select(_s.c.forked_from).where(_s.c.session_id == eldest, _owner(wish))
        parent = connection.execute(query).scalar()
        if parent is None:
            break
        eldest = parent
    return [eldest, *forks_of(connection, wish, [eldest])]


def _owner(wish: Wish) -> ColumnElement[bool]:
    return and_(_s.c.principal == wish.principal, _s.c.agent == wish.agent)


# -- units -------------------------------------------------------------------------------------------------------


def blanking_usage(unit: UnitOfWork, wish: Wish) -> Counter[str]:
    """Whose use it was is not known any more; how much it was is."""
    removed: Counter[str] = Counter()
    condition = and_(_u.c.principal == wish.principal, _u.c.agent == wish.agent, _u.c.user_id == wish.user_id)

    def blank(connection: Connection) -> None:
        rows = connection.execute(select(_u).where(condition)).all()
        for row in rows:
            usage.move(connection, dict(row._mapping), to_user=FORGOTTEN)
        connection.execute(delete(_u).where(condition))
        removed["usage_rows"] = len(rows)

    unit.calls.append(blank)
    return removed


def add_orphaning(unit: UnitOfWork, session_ids: Sequence[str]) -> None:
    """Forks do not say any more what they were forked from."""
    for ids in parts(session_ids):
        unit.add(update(_s).where(_s.c.forked_from.in_(ids)).values(forked_from=None), {})


# -- afterwards --------------------------------------------------------------------------------------------------


def rows_left(connection: Connection, wish: Wish, session_ids: Sequence[str], memory_ids: Collection[str]) -> int:
    """Rows of what a user, a session or a memory had, in any table."""

    def number(table: Table, condition: ColumnElement[bool]) -> int:
        return int(connection.execute(select(func.count()).select_from(table).where(condition)).scalar() or 0)

    own = Owned(wish.agent, wish.principal).condition()
    found = sum(count_rows(connection, session_ids).values())
    for ids in parts(session_ids):
        found += number(_m, and_(_m.c.session_id.in_(ids), own)) + number(_s, _s.c.forked_from.in_(ids))
    for ids in parts(sorted(memory_ids)):
        found += sum([number(table, table.c.memory_id.in_(ids)) for table in (_m, tables.memory_versions)])
    if memory_ids:
        found += number(_v, ~exists().where(_m.c.row == _v.c.row))
    if wish.is_of_user:
        of_user = and_(_u.c.principal == wish.principal, _u.c.agent == wish.agent, _u.c.user_id == wish.user_id)
        found += number(_u, of_user)
    return found


def stands(connection: Connection, text: str) -> bool:
    """Whether a text is in any row of any table, whoever it belongs to, or in the schema (`ada` in `metadata`)."""
    position = func.instr if connection.dialect.name == "sqlite" else func.strpos
    for table in tables.metadata.sorted_tables:
        columns = [column for column in table.columns if isinstance(column.type, Text)]
        if table is _f or not columns:
            continue
        for column in columns:
            if connection.execute(select(1).select_from(table).where(position(column, text) > 0).limit(1)).first():
                return True
    if connection.dialect.name != "sqlite":
        return False
    schema = "SELECT 1 FROM sqlite_master WHERE instr(sql, ?) LIMIT 1"
    return connection.exec_driver_sql(schema, (text,)).first() is not None


def parts(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """So many as a statement takes."""
    for start in range(0, len(ids), PART):
        yield ids[start : start + PART]
