"""Redaction: in sessions that stay, texts to be forgotten are replaced by a marker or removed.

They are found by a phrase or by message ids. The events of a redacted session are deleted like events older than their
retention: a reader with an older cursor gets the messages as they stand now. Which columns hold texts and what becomes
of them is declared in tables.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Row, Table, delete, select, update

from app.domain.forgetting import FORGOTTEN, DeletionRequest
from app.domain.phrase import Phrase
from app.storage import forgettings, personal, tables
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.forgettings import batches
from app.storage.personal import Kind, OwnerKind, Ownership, Redaction

_s, _t, _g, _m = tables.sessions, tables.turns, tables.messages, tables.memories
_OF_SESSIONS = personal.owned_by(tables.metadata, OwnerKind.SESSION)
_OF_MEMORIES = personal.owned_by(tables.metadata, OwnerKind.MEMORY)
SESSIONS_PER_SCAN = 100
MEMORIES_PER_SCAN = 2000


@dataclass(slots=True)
class Found:
    """Where texts to be forgotten are in one session."""

    rows: dict[str, set[Any]] = field(default_factory=dict)
    """By table, the rows to blank or delete: their keys within the session."""
    message_ids: set[str] = field(default_factory=set)
    turn_ids: set[str] = field(default_factory=set)
    in_history: bool = False
    """Whether any of it was said or shown in the session, rather than describing it."""
    description: dict[str, str | None] = field(default_factory=dict)
    """New values for columns that describe the session, such as its title."""

    def __bool__(self) -> bool:
        return self.in_history or bool(self.description) or bool(self.rows)


def scan(connection: Connection, session_ids: Sequence[str], phrase: Phrase) -> dict[str, Found]:
    """Find the phrase in these sessions."""
    found: dict[str, Found] = {}
    for start in range(0, len(session_ids), SESSIONS_PER_SCAN):
        ids = session_ids[start : start + SESSIONS_PER_SCAN]
        for table, whose in _OF_SESSIONS:
            for row, columns in _rows_with(connection, table, whose, ids, phrase):
                _add_row(found.setdefault(row.session_id, Found()), table, whose, row, columns, phrase)
    _add_answering_turns(connection, found)
    return found


def _rows_with(
    connection: Connection, table: Table, whose: Ownership, ids: Sequence[str], phrase: Phrase
) -> Iterator[tuple[Row[Any], list[Column[Any]]]]:
    """Rows of these sessions that contain the phrase, and the columns that do."""
    texts = personal.texts_of(table)
    if not texts:
        return
    names = ["session_id", "turn_id", "message_id"]
    if whose.redaction in (Redaction.ROWS, Redaction.ROWS_DELETED):
        names.append(personal.row_key(table).name)
    keys = [table.c[name] for name in dict.fromkeys(names) if name in table.c]
    for row in connection.execute(select(*keys, *texts).where(table.c.session_id.in_(ids))):
        if columns := [column for column in texts if _is_in(phrase, column, row)]:
            yield row, columns


def _is_in(phrase: Phrase, column: Column[Any], row: Row[Any]) -> bool:
    text = row._mapping[column]
    content = personal.content_of(column)
    return phrase.is_in_json(text) if content and content.kind is Kind.JSON else phrase.is_in(text)


def _add_row(
    found: Found, table: Table, whose: Ownership, row: Row[Any], columns: Sequence[Column[Any]], phrase: Phrase
) -> None:
    if whose.redaction is Redaction.FIELDS:
        found.description |= {column.name: _redacted(column, row._mapping[column], phrase) for column in columns}
        return
    if whose.redaction is Redaction.ROWS_DELETED:
        found.rows.setdefault(table.name, set()).add(row._mapping[personal.row_key(table)])
        return
    found.in_history = True
    if whose.redaction in (Redaction.ROWS, Redaction.TURNS) and (turn_id := getattr(row, "turn_id", None)):
        found.turn_ids.add(turn_id)
    if whose.redaction is Redaction.ROWS:
        found.rows.setdefault(table.name, set()).add(row._mapping[personal.row_key(table)])
    if table is _g:
        found.message_ids.add(row.message_id)


def _redacted(column: Column[Any], text: str, phrase: Phrase) -> str | None:
    if column.nullable:
        return None
    content = personal.content_of(column)
    if content is not None and content.kind is Kind.JSON:
        return orjson.dumps(phrase.without(orjson.loads(text), FORGOTTEN)).decode()
    return FORGOTTEN


def find_messages(connection: Connection, session_ids: Sequence[str], message_ids: Collection[str]) -> dict[str, Found]:
    """Find messages with these ids in these sessions; copies in forks have the same ids."""
    found: dict[str, Found] = {}
    wanted = frozenset(message_ids)
    for ids in batches(session_ids):
        columns = (_g.c.session_id, _g.c.seq, _g.c.message_id, _g.c.turn_id)
        query = select(*columns).where(_g.c.session_id.in_(ids), _g.c.content != FORGOTTEN)
        for row in connection.execute(query):
            if row.message_id not in wanted:
                continue
            one = found.setdefault(row.session_id, Found(in_history=True))
            one.rows.setdefault(_g.name, set()).add(row.seq)
            one.message_ids.add(row.message_id)
            if row.turn_id:
                one.turn_ids.add(row.turn_id)
    _add_answering_turns(connection, found)
    return found


def find_copied_descriptions(connection: Connection, sources: Sequence[str], forks: Sequence[str]) -> dict[str, Found]:
    """Find titles and fields of metadata that forks have in common with the sessions they were made of."""
    columns = (_s.c.session_id, _s.c.title, _s.c.metadata)
    titles: set[str] = set()
    fields: set[tuple[str, bytes]] = set()
    for ids in batches(sources):
        for row in connection.execute(select(*columns).where(_s.c.session_id.in_(ids))):
            titles |= {row.title} if row.title else set()
            fields |= _fields(row.metadata)
    found: dict[str, Found] = {}
    for ids in batches(forks):
        for row in connection.execute(select(*columns).where(_s.c.session_id.in_(ids))):
            description: dict[str, str | None] = {"title": None} if row.title in titles else {}
            if copied := {name for name, _ in _fields(row.metadata) & fields}:
                kept = {name: value for name, value in orjson.loads(row.metadata).items() if name not in copied}
                description["metadata"] = orjson.dumps(kept).decode()
            if description:
                found[row.session_id] = Found(description=description)
    return found


def _fields(metadata: str) -> set[tuple[str, bytes]]:
    return {(name, orjson.dumps(value)) for name, value in orjson.loads(metadata).items()}


def _add_answering_turns(connection: Connection, found: dict[str, Found]) -> None:
    """Add the turns that answer a message again: the message names only its first turn."""
    for ids in batches([session_id for session_id, one in found.items() if one.message_ids]):
        query = select(_t.c.session_id, _t.c.turn_id, _t.c.user_message_id).where(_t.c.session_id.in_(ids))
        for row in connection.execute(query):
            if row.user_message_id in found[row.session_id].message_ids:
                found[row.session_id].turn_ids.add(row.turn_id)


def redact(unit: UnitOfWork, found: Found, *, last_seq: int) -> Counter[str]:
    """Redact the unit's session; the counts by kind are filled in when the unit is written.

    `last_seq`: the session's last number when it was scanned and no turn was open. Later events stay.
    """
    removed: Counter[str] = Counter()

    def write(connection: Connection) -> None:
        removed.clear()  # a batch may be written twice
        for table, whose in _OF_SESSIONS:
            removed[whose.redacted] += _redact(connection, unit.session_id, table, whose, found, last_seq)
        if found.in_history:
            connection.execute(update(_s).where(_s.c.session_id == unit.session_id).values(floor_seq=last_seq))

    unit.calls.append(write)
    return removed


def _redact(
    connection: Connection, session_id: str, table: Table, whose: Ownership, found: Found, last_seq: int
) -> int:
    """How many rows were blanked or deleted."""
    is_ours = table.c.session_id == session_id
    match whose.redaction:
        case None:
            return 0
        case Redaction.FIELDS:
            if not found.description:
                return 0
            return connection.execute(update(table).where(is_ours).values(found.description)).rowcount
        case Redaction.ROWS:
            blank, key = update(table).values(_blank(table)), personal.row_key(table)
            return _run_on(connection, blank.where(is_ours), key, found.rows.get(table.name, ()))
        case Redaction.ROWS_DELETED:
            key = personal.row_key(table)
            return _run_on(connection, delete(table).where(is_ours), key, found.rows.get(table.name, ()))
        case Redaction.TURNS:
            blank = update(table).values(_blank(table))
            return _run_on(connection, blank.where(is_ours), table.c.turn_id, found.turn_ids)
        case Redaction.TURNS_DELETED:
            return _run_on(connection, delete(table).where(is_ours), table.c.turn_id, found.turn_ids)
        case Redaction.HISTORY_DELETED:
            if not found.in_history:
                return 0
            until = table.c[whose.seq] <= last_seq if whose.seq is not None else is_ours
            return connection.execute(delete(table).where(is_ours, until)).rowcount
        case _:
            assert_never(whose.redaction)


def _run_on(connection: Connection, statement: Any, key: Column[Any], values: Collection[Any]) -> int:
    return sum([connection.execute(statement.where(key.in_(ids))).rowcount for ids in batches(sorted(values))])


def _blank(table: Table) -> dict[str, str | None]:
    return {column.name: None if column.nullable else FORGOTTEN for column in personal.texts_of(table)}


# -- memories ----------------------------------------------------------------------------------------------------


def find_memories(
    connection: Connection,
    request: DeletionRequest,
    *,
    phrase: Phrase | None = None,
    message_ids: Collection[str] = (),
    summaries_of: Collection[str] = (),
) -> list[str]:
    """Ids of memories that contain the phrase, now or in an earlier version; of these messages; and of kind `summary`
    about these sessions.
    """
    condition = forgettings.owned_memories(request).condition()
    texts = personal.texts_of(_m)
    columns = (_m.c.row, _m.c.memory_id, _m.c.message_id, _m.c.kind, _m.c.session_id, *texts)
    found: list[str] = []
    after = 0
    while rows := connection.execute(
        select(*columns).where(condition, _m.c.row > after).order_by(_m.c.row).limit(MEMORIES_PER_SCAN)
    ).all():
        after = rows[-1].row
        for row in rows:
            is_about = row.message_id in message_ids or (row.kind == "summary" and row.session_id in summaries_of)
            if is_about or (phrase is not None and any(_is_in(phrase, column, row) for column in texts)):
                found.append(row.memory_id)
    if phrase is not None:
        found += _find_in_parts(connection, condition, phrase)
    return list(dict.fromkeys(found))


def _find_in_parts(connection: Connection, condition: ColumnElement[bool], phrase: Phrase) -> Iterator[str]:
    """Ids of memories of which rows in other tables contain the phrase, such as earlier versions."""
    for table, _ in _OF_MEMORIES:
        texts = personal.texts_of(table)
        if table is _m or not texts:
            continue
        key = personal.memory_key(table)
        query = select(_m.c.memory_id, *texts).join(_m, _m.c[key.name] == key).where(condition)
        for row in connection.execute(query):
            if any(_is_in(phrase, column, row) for column in texts):
                yield row.memory_id
