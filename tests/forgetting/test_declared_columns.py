"""A word that was forgotten is in no column that is declared personal. A new column is covered by its declaration."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Column, Connection, Integer, LargeBinary, Table, insert, select

from app.doors.schemas.forgetting import ForgottenCounts
from app.storage import personal, tables
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.personal import Kind, OwnerKind
from tests.fixtures.house import House

WORD = "xyzzyplugh"
AGENT = {"memory": {"working": {"strategy": "buffer_window"}, "longterm": {"storage_scope": "conversational"}}}
PERSONAL = frozenset(Kind) - {Kind.NONE}
TEXTS = frozenset({Kind.TEXT, Kind.JSON, Kind.DERIVED})
WORDS = {"agent": "assistant", "principal": "alice", "status": "active", "state": "completed", "kind": "message"}


@pytest.fixture(params=["file", "postgres"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    opened = House(tmp_path / "hector.db" if url is None else None, url=url, agent=AGENT)
    await opened.open()
    yield opened
    await opened.close()


class Marking:
    """Writes rows of a session and user, with the word in columns of the test's choice."""

    def __init__(self, connection: Connection, *, session_id: str, user_id: str) -> None:
        self.session_id = session_id
        self.user_id = user_id
        self._connection = connection
        self._numbers = itertools.count(1)

    def insert(self, table: Table, marked: Collection[Column[Any]], **values: Any) -> dict[str, Any]:
        number = next(self._numbers)
        row = {column.name: _value(column, number, column in marked) for column in table.columns}
        row |= {"session_id": self.session_id, "user_id": self.user_id} | values
        row = {name: value for name, value in row.items() if name in table.c}
        if table is tables.sessions:
            row |= {"last_seq": 1000, "reserved_seq": 2000}
        if table is tables.memories and "row" not in values:
            del row["row"]
        self._connection.execute(insert(table), [row])
        return row

    def memory(self, marked: Collection[Column[Any]], **values: Any) -> dict[str, Any]:
        row = self.insert(tables.memories, marked, **values)
        query = select(tables.memories.c.row).where(tables.memories.c.memory_id == row["memory_id"])
        return {"memory_id": row["memory_id"], "row": self._connection.execute(query).scalar()}

    def owned(self, table: Table, marked: Collection[Column[Any]]) -> None:
        """A row of a new turn, or of a new memory. What is derived from a text comes with that text."""
        whose, has_source = personal.ownership(table), any(column in personal.texts_of(table) for column in marked)
        assert whose is not None
        if whose.owner is OwnerKind.MEMORY:
            source = () if has_source else (tables.memories.c.text,)
            if table is tables.memories:
                self.memory((*marked, *source))
            else:
                self.insert(table, marked, **self.memory(source))
        elif table is tables.turns or whose.owner is OwnerKind.USER:
            self.insert(table, marked)
        else:
            turn = self.insert(tables.turns, () if has_source else (tables.turns.c.instructions,))
            self.insert(table, marked, turn_id=turn["turn_id"])


def _value(column: Column[Any], number: int, is_marked: bool) -> Any:
    content = personal.content_of(column)
    text = f"{WORD} of {column}, {number}" if is_marked else f"{column.name}_{number}"
    if isinstance(column.type, Integer):
        return number
    if isinstance(column.type, LargeBinary):
        return text.encode()
    if content is not None and content.kind is Kind.JSON:
        return orjson.dumps({"word": text} if is_marked else {}).decode()
    if column.nullable and not is_marked:
        return None
    return text if is_marked else WORDS.get(column.name, text)


def columns(*owners: OwnerKind, kinds: Collection[Kind] = PERSONAL) -> Iterator[tuple[Table, Column[Any]]]:
    for owner in owners:
        for table, _ in personal.owned_by(tables.metadata, owner):
            for column in personal.columns_with(table, *kinds):
                yield table, column


async def columns_with_word(house: House) -> set[str]:
    """Personal columns that have the word in any row."""

    def look(connection: Connection) -> set[str]:
        found = set()
        for _, column in columns(*OwnerKind):
            values = connection.execute(select(column)).scalars()
            if any(WORD in (value.decode() if isinstance(value, bytes) else str(value)) for value in values):
                found.add(str(column))
        return found

    return await house.database.read(look)


async def write(house: House, work: Any) -> None:
    await house.database.submit(UnitOfWork("", calls=[work]))


def names(*owners: OwnerKind, kinds: Collection[Kind] = PERSONAL) -> set[str]:
    return {str(column) for _, column in columns(*owners, kinds=kinds)}


def mark_a_session(connection: Connection, session_id: str, user_id: str) -> None:
    """A session with the word in every personal column that rows of its own, of its memories and forks have."""
    marking = Marking(connection, session_id=session_id, user_id=user_id)
    described = personal.texts_of(tables.sessions)
    marking.insert(tables.sessions, described)
    Marking(connection, session_id="a-fork", user_id="bob").insert(tables.sessions, (), forked_from=session_id)
    for owner in (OwnerKind.SESSION, OwnerKind.MEMORY):
        for table, _ in personal.owned_by(tables.metadata, owner):
            if table is not tables.sessions:
                marking.owned(table, personal.columns_with(table, *TEXTS, Kind.KEY))


async def test_a_forgotten_session_is_in_no_personal_column(house: House) -> None:
    session_id = f"session-of-{WORD}"
    await write(house, lambda connection: mark_a_session(connection, session_id, "ann"))
    theirs = names(OwnerKind.SESSION, OwnerKind.MEMORY) - names(*OwnerKind, kinds={Kind.USER})
    assert await columns_with_word(house) == theirs
    receipt = await house.forgettings.forget("assistant", "alice", session_id=session_id)
    assert await columns_with_word(house) == set()
    assert receipt.found_afterwards == 0


async def test_a_forgotten_user_is_in_no_personal_column(house: House) -> None:
    user_id = f"user-{WORD}"

    def mark(connection: Connection) -> None:
        mark_a_session(connection, f"session-of-{WORD}", user_id)
        for table, _ in personal.owned_by(tables.metadata, OwnerKind.USER):
            Marking(connection, session_id="", user_id=user_id).owned(table, personal.columns_with(table, *TEXTS))

    await write(house, mark)
    assert await columns_with_word(house) == names(OwnerKind.SESSION, OwnerKind.MEMORY, OwnerKind.USER)
    receipt = await house.forgettings.forget("assistant", "alice", user_id=user_id)
    assert await columns_with_word(house) == set()
    assert receipt.found_afterwards == 0


async def test_a_forgotten_memory_is_in_no_personal_column(house: House) -> None:
    def mark(connection: Connection) -> None:
        marking = Marking(connection, session_id="session-of-ann", user_id="ann")
        keys = marking.memory(personal.columns_with(tables.memories, *TEXTS), memory_id="the-memory")
        for table, _ in personal.owned_by(tables.metadata, OwnerKind.MEMORY):
            if table is not tables.memories:
                marking.insert(table, personal.columns_with(table, *TEXTS), **keys)

    await write(house, mark)
    assert await columns_with_word(house) == names(OwnerKind.MEMORY, kinds=TEXTS)
    receipt = await house.forgettings.forget("assistant", "alice", memory_id="the-memory")
    assert await columns_with_word(house) == set()
    assert receipt.found_afterwards == 0


async def test_a_forgotten_phrase_is_found_in_each_column_alone(house: House) -> None:
    """Each column has a session of its own, so that no other text in it leads to the row."""
    owners = (OwnerKind.SESSION, OwnerKind.MEMORY)

    def mark(connection: Connection) -> None:
        marking = Marking(connection, session_id="", user_id="ann")
        for number, (table, column) in enumerate(columns(*owners, kinds=TEXTS)):
            marking.session_id = f"session-{number}"
            marking.insert(tables.sessions, (column,) if table is tables.sessions else ())
            if table is not tables.sessions:
                marking.owned(table, (column,))

    await write(house, mark)
    assert await columns_with_word(house) == names(*owners, kinds=TEXTS)
    receipt = await house.forgettings.forget("assistant", "alice", phrase=WORD)
    assert await columns_with_word(house) == set()
    assert receipt.found_afterwards == 0


def test_a_receipt_names_every_kind_of_row_that_is_removed() -> None:
    declared = [personal.ownership(table) for table in personal.with_personal_data(tables.metadata)]
    counted = {name for whose in declared if whose is not None for name in (whose.counted, whose.redacted) if name}
    assert set(ForgottenCounts.__annotations__) == counted | {"recalled"}
