"""A table whose columns do not say what they hold, or whose rows could not be forgotten, is refused."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import JSON, BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text

from app.storage import personal, tables
from app.storage.personal import Kind, OwnerKind, Redaction, Undeclared, holds, not_personal


def refusal(*columns: Column[Any], **options: Any) -> str:
    """What is said about a new table beside a copy of the others."""
    copy = MetaData()
    for table in tables.metadata.sorted_tables:
        table.to_metadata(copy)
    Table("novelties", copy, *columns, **options)
    with pytest.raises(Undeclared) as refused:
        personal.check(copy)
    said = str(refused.value)
    assert said.count("novelties") == said.count(";") + 1, "the others declare what they hold"
    return said


def a_text(name: str, kind: Kind = Kind.TEXT, **options: Any) -> Column[Any]:
    return Column(name, Text, info=holds(kind), **options)


def test_the_tables_there_are_declare_everything() -> None:
    personal.check(tables.metadata)


@pytest.mark.parametrize("type_", [Text, String, JSON, LargeBinary])
def test_a_column_that_can_hold_text_and_says_nothing_is_refused(type_: Any) -> None:
    assert "novelties.thing does not say what it holds" in refusal(Column("thing", type_))


def test_numbers_need_no_declaration() -> None:
    copy = MetaData()
    Table("novelties", copy, Column("seq", BigInteger, primary_key=True), Column("size", Integer))
    personal.check(copy)


def test_a_column_that_is_said_not_to_be_personal_says_why() -> None:
    assert "why" in refusal(Column("thing", Text, info=not_personal("")))


def test_a_table_with_personal_columns_says_whose_its_rows_are() -> None:
    assert "whose" in refusal(a_text("thing"))


@pytest.mark.parametrize("owner", [OwnerKind.SESSION, OwnerKind.MEMORY, OwnerKind.USER])
def test_rows_that_their_owner_could_not_find_are_refused(owner: OwnerKind) -> None:
    assert f"no column by which a {owner} finds its rows" in refusal(a_text("thing"), info=personal.of(owner))


def test_a_text_of_a_session_says_what_becomes_of_it_when_the_session_stays() -> None:
    said = refusal(a_text("session_id", Kind.SESSION), a_text("thing"), info=personal.of_session("novelties"))
    assert "redacted" in said


@pytest.mark.parametrize(
    ("redaction", "column", "problem"),
    [
        (Redaction.TURNS, a_text("thing"), "no turn_id"),
        (Redaction.TURNS_DELETED, a_text("thing"), "no turn_id"),
        (Redaction.HISTORY_DELETED, a_text("thing"), "no column seq"),
        (Redaction.ROWS, a_text("thing", Kind.JSON, nullable=False), "cannot be blanked"),
        (Redaction.ROWS, a_text("thing"), "identifies a row"),
    ],
)
def test_a_redaction_that_could_not_be_done_is_refused(redaction: Redaction, column: Column[Any], problem: str) -> None:
    keys = [Column(name, Integer, primary_key=True) for name in ("place", "version")]
    info = personal.of_session("novelties", redaction, seq="seq")
    assert problem in refusal(a_text("session_id", Kind.SESSION), *keys, column, info=info)
