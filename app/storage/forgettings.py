"""Deletion requests in the database, the rows each one targets, and the rows that are left of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Text, and_, delete, exists, func, insert, select, true, update

from app.domain.forgetting import FORGOTTEN, DeletionRequest
from app.domain.phrase import Phrase
from app.storage import personal, tables, usage
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.memories import Owned
from app.storage.personal import Kind, OwnerKind, Ownership

_f, _s, _u = tables.forgettings, tables.sessions, tables.usage
_m = tables.memories
_OF_SESSIONS = personal.owned_by(tables.metadata, OwnerKind.SESSION)
BATCH = 500
"""Ids in one statement."""

# In the order of the fields of DeletionRequest.
_COLUMNS = ("wish_id", "agent", "principal", "created_ms", "user_id", "session_id", "memory_id", "phrase")


def add(unit: UnitOfWork, request: DeletionRequest) -> None:
    unit.add(insert(_f), {**dict(zip(_COLUMNS, astuple(request), strict=True)), "rows_gone": 0})


def add_rows_gone(unit: UnitOfWork, request_id: str) -> None:
    """Only the files are left to clear; the request no longer says what it was about."""
    texts = [column for column in _f.columns if isinstance(column.type, Text) and not column.primary_key]
    blank = {column.name: None if column.nullable else "" for column in texts}
    unit.add(update(_f).where(_f.c.wish_id == request_id).values(**blank, rows_gone=1), {})


def add_done(unit: UnitOfWork, request_id: str) -> None:
    unit.add(delete(_f).where(_f.c.wish_id == request_id), {})


def unfinished(connection: Connection) -> list[tuple[DeletionRequest, bool]]:
    """Requests, and whether their rows are gone; oldest first."""
    rows = connection.execute(select(_f).order_by(_f.c.created_ms, _f.c.wish_id))
    return [(DeletionRequest(*[getattr(row, name) for name in _COLUMNS]), bool(row.rows_gone)) for row in rows]


# -- what a request targets --------------------------------------------------------------------------------------------


def owned_sessions(request: DeletionRequest) -> ColumnElement[bool]:
    """The sessions that a request may touch."""
    conditions = [_owner(request)]
    if request.user_id is not None:
        conditions.append(_s.c.user_id == request.user_id)
    if request.session_id is not None:
        conditions.append(_s.c.session_id == request.session_id)
    return and_(*conditions)


def owned_memories(request: DeletionRequest) -> Owned:
    """The memories that a request may touch."""
    ids = (request.memory_id,) if request.memory_id is not None else None
    return Owned(
        request.agent, request.principal, user_id=request.user_id, session_id=request.session_id, memory_ids=ids
    )


def count_found(connection: Connection, request: DeletionRequest) -> Counter[str]:
    """What the database has of the user, session or memory that a request names."""
    found = Counter(
        sessions=_number(connection, _s, owned_sessions(request)) if request.memory_id is None else 0,
        memories=_number(connection, _m, owned_memories(request).condition()),
    )
    if found["sessions"]:
        ids = select(_s.c.session_id).where(owned_sessions(request))
        found["messages"] = _number(connection, tables.messages, tables.messages.c.session_id.in_(ids))
    if request.is_of_user:
        found["usage_rows"] = _number(connection, _u, _used_by(request))
    return found


def knows_user(connection: Connection, request: DeletionRequest) -> bool:
    """Whether the database has anything of the user that a request names, whatever else narrows the request."""
    of_user = replace(request, session_id=None, memory_id=None, phrase=None)
    return bool(+count_found(connection, of_user))


def sessions_of(connection: Connection, request: DeletionRequest, *, until_ms: int | None = None) -> list[str]:
    """Ids of the sessions that a request may touch; `until_ms`: those created by then."""
    query = select(_s.c.session_id).where(owned_sessions(request)).order_by(_s.c.created_ms)
    if until_ms is not None:
        query = query.where(_s.c.created_ms <= until_ms)
    return list(connection.execute(query).scalars())


@dataclass(frozen=True, slots=True)
class Source:
    """A memory by its ids."""

    memory_id: str
    session_id: str
    message_id: str | None


def sources(connection: Connection, request: DeletionRequest) -> list[Source]:
    """The memories that a request may touch."""
    query = select(_m.c.memory_id, _m.c.session_id, _m.c.message_id).where(owned_memories(request).condition())
    return [Source(*row) for row in connection.execute(query)]


def count_rows(connection: Connection, session_ids: Sequence[str]) -> Counter[str]:
    """How many rows sessions have, by kind as the receipt names it."""
    found: Counter[str] = Counter()
    for ids in batches(session_ids):
        for table, whose in _OF_SESSIONS:
            found[whose.counted] += _number(connection, table, table.c.session_id.in_(ids))
    return found


def message_ids(connection: Connection, session_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    table = tables.messages
    for ids in batches(session_ids):
        found |= set(connection.execute(select(table.c.message_id).where(table.c.session_id.in_(ids))).scalars())
    return found


def forks_of(connection: Connection, request: DeletionRequest, session_ids: Sequence[str]) -> list[str]:
    """Sessions of the same owner that were forked from these sessions or from their forks."""
    known, new = set(session_ids), list(session_ids)
    while new:
        found: list[str] = []
        for ids in batches(new):
            query = select(_s.c.session_id).where(_s.c.forked_from.in_(ids), _owner(request))
            found += connection.execute(query).scalars()
        new = [session_id for session_id in found if session_id not in known]
        known |= set(new)
    return sorted(known - set(session_ids))


def family_of(connection: Connection, request: DeletionRequest, session_id: str) -> list[str]:
    """A session, its ancestors, and all their forks: each may contain the same message."""
    eldest = session_id
    for _ in range(1000):
        query = select(_s.c.forked_from).where(_s.c.session_id == eldest, _owner(request))
        parent = connection.execute(query).scalar()
        if parent is None:
            break
        eldest = parent
    return [eldest, *forks_of(connection, request, [eldest])]


def _owner(request: DeletionRequest) -> ColumnElement[bool]:
    return and_(_s.c.principal == request.principal, _s.c.agent == request.agent)


# -- units -------------------------------------------------------------------------------------------------------


def anonymize_usage(unit: UnitOfWork, request: DeletionRequest) -> Counter[str]:
    """Keep how much the user used, and remove who it was; the count is filled in when the unit is written."""
    removed: Counter[str] = Counter()
    condition = _used_by(request)

    def blank(connection: Connection) -> None:
        rows = connection.execute(select(_u).where(condition)).all()
        for row in rows:
            usage.move(connection, dict(row._mapping), to_user=FORGOTTEN)
        connection.execute(delete(_u).where(condition))
        removed["usage_rows"] = len(rows)

    unit.calls.append(blank)
    return removed


def remove_of_user(unit: UnitOfWork, request: DeletionRequest, phrase: Phrase | None = None) -> Counter[str]:
    """Delete what belongs to the user and to no session, but for the usage; with a phrase, the rows that contain it.

    The counts are filled in when the unit is written.
    """
    removed: Counter[str] = Counter()

    def remove(connection: Connection) -> None:
        for table, whose in personal.owned_by(tables.metadata, OwnerKind.USER):
            if table is _u:
                continue
            condition = _is_of(table, request)
            if request.user_id is not None:
                condition = and_(condition, table.c.user_id == request.user_id)
            for row in connection.execute(select(table).where(condition)).all():
                texts = [row._mapping[column.name] or "" for column in personal.texts_of(table)]
                if phrase is None or any(phrase.is_in(text) for text in texts):
                    key = next(iter(table.primary_key.columns))
                    connection.execute(delete(table).where(key == row._mapping[key.name]))
                    removed[whose.counted] += 1

    unit.calls.append(remove)
    return removed


def _used_by(request: DeletionRequest) -> ColumnElement[bool]:
    return and_(_u.c.principal == request.principal, _u.c.agent == request.agent, _u.c.user_id == request.user_id)


def detach_forks(unit: UnitOfWork, session_ids: Sequence[str]) -> None:
    """Remove from forks the id of the session they were forked from."""
    for ids in batches(session_ids):
        unit.add(update(_s).where(_s.c.forked_from.in_(ids)).values(forked_from=None), {})


# -- afterwards --------------------------------------------------------------------------------------------------


def rows_left(
    connection: Connection, request: DeletionRequest, session_ids: Sequence[str], memory_ids: Collection[str]
) -> int:
    """How many rows of the removed user, sessions or memories are still in any table."""
    found = sum(count_rows(connection, session_ids).values())
    for table in tables.metadata.sorted_tables:
        match personal.ownership(table):
            case None | Ownership(owner=OwnerKind.REQUEST):
                continue
            case Ownership(owner=OwnerKind.MEMORY):
                found += _left_of_memories(connection, table, memory_ids)
            case Ownership(owner=OwnerKind.USER) if request.is_of_user:
                found += _number(connection, table, _is_of(table, request), table.c.user_id == request.user_id)
        for column in personal.columns_with(table, Kind.SESSION):
            if column.name != "session_id" or not _is_of_session(table):  # those are counted
                for ids in batches(session_ids):
                    found += _number(connection, table, column.in_(ids), _is_of(table, request))
    return found


def _left_of_memories(connection: Connection, table: Table, memory_ids: Collection[str]) -> int:
    key = personal.memory_key(table)
    if key.name == "memory_id":
        return sum([_number(connection, table, key.in_(ids)) for ids in batches(sorted(memory_ids))])
    if not memory_ids:
        return 0
    return _number(connection, table, ~exists().where(_m.c[key.name] == key))


def _is_of_session(table: Table) -> bool:
    whose = personal.ownership(table)
    return whose is not None and whose.owner is OwnerKind.SESSION


def _is_of(table: Table, request: DeletionRequest) -> ColumnElement[bool]:
    """Rows of the requester, where a table says whose they are."""
    if "principal" not in table.c:
        return true()
    return and_(table.c.principal == request.principal, table.c.agent == request.agent)


def _number(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar() or 0)


def stands(connection: Connection, text: str) -> bool:
    """Whether any row of any table contains the text, or the schema does (`ada` in `metadata`)."""
    position = func.instr if connection.dialect.name == "sqlite" else func.strpos
    for table in tables.metadata.sorted_tables:
        whose = personal.ownership(table)
        if whose is not None and whose.owner is OwnerKind.REQUEST:
            continue
        for column in [column for column in table.columns if isinstance(column.type, Text)]:
            if connection.execute(select(1).select_from(table).where(position(column, text) > 0).limit(1)).first():
                return True
    if connection.dialect.name != "sqlite":
        return False
    schema = "SELECT 1 FROM sqlite_master WHERE instr(sql, ?) LIMIT 1"
    return connection.exec_driver_sql(schema, (text,)).first() is not None


def batches(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The ids in as many as one statement takes."""
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]
