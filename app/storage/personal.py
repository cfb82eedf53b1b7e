"""Personal data: every column that can hold text says what it holds, and every table with personal data whose it is.

The declarations stand in tables.py. Redaction, erasure, receipts and the search for residue walk them, so that a new
table is covered by declaring it; `check` refuses tables that declare nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Numeric, Table

_KEY = "personal"


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    """Written by a user, a client or a model. Phrases are searched for in it."""
    JSON = "json"
    """The same, in the strings of a JSON value."""
    DERIVED = "derived"
    """Computed from a text or an id: stems, a vector, a digest. Removed with its row."""
    USER = "user"
    """Identifies a user."""
    SESSION = "session"
    """Identifies a session; clients may choose ids."""
    KEY = "key"
    """A client's own name for a request. Removed with its row."""
    NONE = "none"
    """Not personal, for the reason that the declaration gives."""


class OwnerKind(StrEnum):
    """Whose a table's rows are, and by which columns the owner's rows are found."""

    SESSION = "session"
    """A session's: by `session_id`. Erased with the session."""
    MEMORY = "memory"
    """A memory's: by `memory_id`, or by `row`. Erased with the memory."""
    USER = "user"
    """A user's: by `principal`, `agent` and `user_id`."""
    DELIVERY = "delivery"
    """About a session: by `session_id`. Holds no text, outlives a terminated session, deleted when it is forgotten."""
    REQUEST = "request"
    """A deletion request's: blanked when the rows it names are gone."""


class Redaction(StrEnum):
    """What happens to a session's rows when one of its texts is forgotten and the session stays."""

    FIELDS = "fields"
    """The columns that contain the phrase are blanked. They describe the session and are not part of its history."""
    ROWS = "rows"
    """The rows that contain the text are blanked."""
    ROWS_DELETED = "rows_deleted"
    """The rows that contain the text are deleted. They are not part of the session's history."""
    TURNS = "turns"
    """The rows of the turns that contain the text are blanked."""
    TURNS_DELETED = "turns_deleted"
    """The rows of the turns that contain the text are deleted."""
    HISTORY_DELETED = "history_deleted"
    """All rows are deleted that existed when the session was searched: any of them may repeat the text."""


@dataclass(frozen=True, slots=True)
class Content:
    """What one column holds. `reason`: why it is not personal."""

    kind: Kind
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose the rows of one table are. `counted`: their name in receipts.

    `redacted` names them in receipts of a redaction. `seq`: the column with the number of a row's last event, for
    HISTORY_DELETED; without one every row of the session is deleted.
    """

    owner: OwnerKind
    counted: str = ""
    redaction: Redaction | None = None
    redacted: str = ""
    seq: str | None = None


class Undeclared(TypeError):
    """A table or column lacks a declaration, or has one that cannot be acted on."""


# -- declaring, in tables.py -------------------------------------------------------------------------------------


def holds(kind: Kind) -> dict[str, Content]:
    """The `info` of a column with personal data."""
    return {_KEY: Content(kind)}


def not_personal(reason: str) -> dict[str, Content]:
    """The `info` of a column without personal data."""
    return {_KEY: Content(Kind.NONE, reason)}


def of_session(
    counted: str, redaction: Redaction | None = None, *, redacted: str | None = None, seq: str | None = None
) -> dict[str, Ownership]:
    """The `info` of a table whose rows belong to sessions."""
    return {_KEY: Ownership(OwnerKind.SESSION, counted, redaction, redacted or counted, seq)}


def of(owner: OwnerKind, counted: str = "") -> dict[str, Ownership]:
    """The `info` of a table with another owner."""
    return {_KEY: Ownership(owner, counted)}


# -- walking -----------------------------------------------------------------------------------------------------


def ownership(table: Table) -> Ownership | None:
    """Whose the rows are; `None` for a table without personal data."""
    found: Ownership | None = table.info.get(_KEY)
    return found


def owned_by(metadata: MetaData, owner: OwnerKind) -> list[tuple[Table, Ownership]]:
    """The tables whose rows have such an owner."""
    found = [(table, ownership(table)) for table in metadata.sorted_tables]
    return [(table, whose) for table, whose in found if whose is not None and whose.owner is owner]


def with_personal_data(metadata: MetaData) -> list[Table]:
    return [table for table in metadata.sorted_tables if ownership(table) is not None]


def columns_with(table: Table, *kinds: Kind) -> list[Column[Any]]:
    return [column for column in table.columns if (content := content_of(column)) and content.kind in kinds]


def texts_of(table: Table) -> list[Column[Any]]:
    """The columns that a phrase is searched for in."""
    return columns_with(table, Kind.TEXT, Kind.JSON)


def content_of(column: Column[Any]) -> Content | None:
    found: Content | None = column.info.get(_KEY)
    return found


def row_key(table: Table) -> Column[Any]:
    """The column that identifies a row within its session; `check` refuses a table without one for Redaction.ROWS and
    ROWS_DELETED."""
    (key,) = _row_keys(table)
    return key


def _row_keys(table: Table) -> list[Column[Any]]:
    return [column for column in table.primary_key.columns if column.name != "session_id"]


def memory_key(table: Table) -> Column[Any]:
    """The column that names the memory a row belongs to."""
    return table.c.memory_id if "memory_id" in table.c else table.c.row


# -- checking ----------------------------------------------------------------------------------------------------


def check(metadata: MetaData) -> None:
    """Raises Undeclared: a column that can hold text has no declaration, or forgetting could not act on one."""
    problems = [problem for table in metadata.sorted_tables for problem in _problems(table)]
    if problems:
        raise Undeclared("Personal data is not declared well (app/storage/personal.py): " + "; ".join(problems))


def _problems(table: Table) -> Iterator[str]:
    for column in table.columns:
        content = content_of(column)
        if content is None:
            if not isinstance(column.type, (Integer, Numeric)):
                yield f"{column} does not say what it holds"
        elif content.kind is Kind.NONE and not content.reason:
            yield f"{column} does not say why it is not personal"
    whose, personal = ownership(table), columns_with(table, *(set(Kind) - {Kind.NONE}))
    if whose is None:
        if personal:
            yield f"{table} has personal columns and does not say whose"
        return
    needed = _KEYS[whose.owner]
    if not any(all(name in table.c for name in names) for names in needed):
        yield f"{table} has no column by which a {whose.owner} finds its rows"
    elif whose.owner is OwnerKind.SESSION and texts_of(table):
        yield from _redaction_problems(table, whose)


_KEYS: dict[OwnerKind, Sequence[Sequence[str]]] = {
    OwnerKind.SESSION: (("session_id",),),
    OwnerKind.MEMORY: (("memory_id",), ("row",)),
    OwnerKind.USER: (("principal", "agent", "user_id"),),
    OwnerKind.DELIVERY: (("session_id",),),
    OwnerKind.REQUEST: ((),),
}


def _redaction_problems(table: Table, whose: Ownership) -> Iterator[str]:
    match whose.redaction:
        case None:
            yield f"{table} does not say how its texts are redacted"
        case Redaction.ROWS | Redaction.ROWS_DELETED:
            if len(_row_keys(table)) != 1:
                yield f"{table} needs one column that identifies a row within its session"
        case Redaction.TURNS | Redaction.TURNS_DELETED:
            if "turn_id" not in table.c:
                yield f"{table} has no turn_id"
        case Redaction.HISTORY_DELETED:
            if whose.seq is not None and whose.seq not in table.c:
                yield f"{table} has no column {whose.seq}"
        case Redaction.FIELDS:
            pass
    if whose.redaction in (Redaction.ROWS, Redaction.TURNS):
        for column in columns_with(table, Kind.JSON):
            if not column.nullable:
                yield f"{column} is JSON and cannot be blanked"
