"""Full text over the memories' stems: FTS5 on SQLite, a GIN index on Postgres. Named and made here, searched here.

Stems and stop words are made by us (app/memory/text.py), so both engines index the same words and agree on what
matches. They only nominate candidates; the ranking is app/memory/rank.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import DDL, Connection, Table, TextClause, bindparam, event, text
from sqlalchemy.schema import ExecutableDDLElement

NAME = "memories_text"

# The scope is a word in the index: other people's memories are not even looked at (facts: 4.1 ms against 0.36).
_SQLITE = (
    f"CREATE VIRTUAL TABLE {NAME} USING fts5(audience, terms, content='memories', content_rowid='row',"
    " tokenize='unicode61 remove_diacritics 0', detail='column')",
    f"CREATE TRIGGER {NAME}_added AFTER INSERT ON memories BEGIN"
    f" INSERT INTO {NAME}(rowid, audience, terms) VALUES (new.row, new.audience, new.terms); END",
    f"CREATE TRIGGER {NAME}_removed AFTER DELETE ON memories BEGIN"
    f" INSERT INTO {NAME}({NAME}, rowid, audience, terms) VALUES ('delete', old.row, old.audience, old.terms); END",
)
# Not to_tsvector: its parser would cut words after its own rules and the server's locale.
_STEMS = "array_to_tsvector(string_to_array(terms, ' '))"
# New rows into the index at once: its list of pending ones is read whole for every term, up to 4 MB of it, and the
# planner then prefers to read the table (measured: 470 ms for a question of a large scope against 35).
_POSTGRES = (f"CREATE INDEX {NAME} ON memories USING gin (({_STEMS})) WITH (fastupdate = off)",)

_SQLITE_ROWS = text(f"SELECT rowid FROM {NAME} WHERE {NAME} MATCH :words LIMIT :at_most")
_SQLITE_COUNT = text(f"SELECT count(*) FROM {NAME} WHERE {NAME} MATCH :words")
_POSTGRES_COUNT = text(
    f"SELECT count(*) FROM memories WHERE audience IN :audiences AND {_STEMS} @@ CAST(:words AS tsquery)"
).bindparams(bindparam("audiences", expanding=True))
_POSTGRES_COMMON = text(
    "SELECT CAST(CAST(most_common_elems AS text) AS text[]) AS terms, most_common_elem_freqs AS shares FROM pg_stats"
    f" WHERE schemaname = current_schema() AND tablename = '{NAME}' AND most_common_elems IS NOT NULL"
)


def attach(table: Table) -> None:
    """Make the index whenever the table is made outside the migrations."""
    for dialect, statements in (("sqlite", _SQLITE), ("postgresql", _POSTGRES)):
        for statement in statements:
            event.listen(table, "after_create", _only_on(dialect, statement))
    event.listen(table, "before_drop", _only_on("sqlite", f"DROP TABLE IF EXISTS {NAME}"))


def _only_on(dialect: str, statement: str) -> ExecutableDDLElement:
    ddl: ExecutableDDLElement = DDL(statement)  # type: ignore[no-untyped-call]
    return ddl.execute_if(dialect=dialect)


def statements(dialect: str) -> tuple[str, ...]:
    """What makes the index, for the migration."""
    return _SQLITE if dialect == "sqlite" else _POSTGRES


def is_ours(name: str | None) -> bool:
    """Whether a table or index of that name is the full text's own and no part of the schema."""
    return name is not None and name.startswith(NAME)


def count(connection: Connection, audiences: Sequence[str], term: str) -> int:
    """How many memories of the audiences have the term."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(_SQLITE_COUNT, {"words": _match(audiences, [term])})
    else:
        found = connection.execute(_POSTGRES_COUNT, {"words": _lexeme(term), "audiences": list(audiences)})
    return int(found.scalar() or 0)


def common(connection: Connection) -> dict[str, float]:
    """The share of all memories that has each of the commonest terms, as Postgres' own statistics tell; else nothing.

    SQLite counts a common term in a millisecond, Postgres in forty.
    """
    if connection.dialect.name == "sqlite":
        return {}
    found = connection.execute(_POSTGRES_COMMON).first()
    return dict(zip(found.terms, found.shares[: len(found.terms)], strict=True)) if found is not None else {}


def rows(connection: Connection, audiences: Sequence[str], terms: Sequence[str], limit: int) -> dict[str, list[int]]:
    """The rows of the audiences that have each term, at most `limit` of each, in no order."""
    found: dict[str, list[int]] = {term: [] for term in terms}
    if not terms:
        return found
    if connection.dialect.name == "sqlite":
        for term in terms:
            parameters = {"words": _match(audiences, [term]), "at_most": limit}
            found[term] += connection.execute(_SQLITE_ROWS, parameters).scalars()
        return found
    lexemes = {f"term_{number}": _lexeme(term) for number, term in enumerate(terms)}
    parameters = {"audiences": list(audiences), "at_most": limit, **lexemes}
    for number, row in connection.execute(_postgres_rows(len(terms)), parameters):
        found[terms[number]].append(row)
    return found


@lru_cache(maxsize=64)
def _postgres_rows(terms: int) -> TextClause:
    """One statement for all terms: each way to the server takes as long as the looking."""
    parts = [
        f"(SELECT {number} AS number, row FROM memories"
        f" WHERE audience IN :audiences AND {_STEMS} @@ CAST(:term_{number} AS tsquery) LIMIT :at_most)"
        for number in range(terms)
    ]
    return text(" UNION ALL ".join(parts)).bindparams(bindparam("audiences", expanding=True))


def merge(connection: Connection, pages: int) -> int:
    """Merge segments, about so many pages; how many rows that changed, less than 2 when nothing was left to do.

    What was deleted leaves a mark beside the words, and both go when all segments are one. SQLite only.
    """
    before = _total_changes(connection)
    connection.exec_driver_sql(f"INSERT INTO {NAME}({NAME}, rank) VALUES ('merge', {pages})")
    connection.commit()
    return _total_changes(connection) - before


def _total_changes(connection: Connection) -> int:
    driver: Any = connection.connection.driver_connection
    return int(driver.total_changes)


def _match(audiences: Sequence[str], terms: Sequence[str]) -> str:
    whose = " OR ".join(audiences)
    words = " OR ".join([f'"{term}"' for term in terms])
    return f"audience : ({whose}) AND terms : ({words})"


def _lexeme(term: str) -> str:
    quoted = term.replace("\\", "\\\\").replace("'", "''")
    return f"'{quoted}'"
