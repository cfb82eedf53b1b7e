"""Full text over the stems of memories: which rows contain a term, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, text

from app.storage.stem_index import StemIndex, lexeme

INDEX = StemIndex("memories_text", "memories", owner="audience")

_SQLITE_ROWS = text(f"SELECT rowid FROM {INDEX.name} WHERE {INDEX.name} MATCH :words LIMIT :at_most")
_POSTGRES_COMMON = text(
    "SELECT CAST(CAST(most_common_elems AS text) AS text[]) AS terms, most_common_elem_freqs AS shares FROM pg_stats"
    f" WHERE schemaname = current_schema() AND tablename = '{INDEX.name}' AND most_common_elems IS NOT NULL"
)


def common(connection: Connection) -> dict[str, float]:
    """The most common terms and the share of all memories that contain each, by Postgres' statistics; empty on SQLite.

    SQLite counts a common term in a millisecond, Postgres in forty.
    """
    if connection.dialect.name == "sqlite":
        return {}
    found = connection.execute(_POSTGRES_COMMON).first()
    return dict(zip(found.terms, found.shares[: len(found.terms)], strict=True)) if found is not None else {}


def rows(connection: Connection, audiences: Sequence[str], terms: Sequence[str], limit: int) -> dict[str, list[int]]:
    """The rows of the audiences that contain each term, at most `limit` per term, in no order."""
    found: dict[str, list[int]] = {term: [] for term in terms}
    if not terms:
        return found
    if connection.dialect.name == "sqlite":
        for term in terms:
            parameters = {"words": INDEX.match(audiences, [term]), "at_most": limit}
            found[term] += connection.execute(_SQLITE_ROWS, parameters).scalars()
        return found
    lexemes = {f"term_{number}": lexeme(term) for number, term in enumerate(terms)}
    parameters = {"audiences": list(audiences), "at_most": limit, **lexemes}
    for number, row in connection.execute(_postgres_rows(len(terms)), parameters):
        found[terms[number]].append(row)
    return found


@lru_cache(maxsize=64)
def _postgres_rows(terms: int) -> TextClause:
    """One statement for all terms, because a round trip takes as long as the lookup."""
    parts = [
        f"(SELECT {number} AS number, row FROM memories"
        f" WHERE audience IN :audiences AND {INDEX.stems} @@ CAST(:term_{number} AS tsquery) LIMIT :at_most)"
        for number in range(terms)
    ]
    return text(" UNION ALL ".join(parts)).bindparams(bindparam("audiences", expanding=True))


def merge(connection: Connection, pages: int) -> int:
    """Merge about `pages` pages of index segments. Returns the rows changed; less than 2 when nothing was left to do.

    Deleted rows stay in the index with a deletion mark until all segments are merged into one. SQLite only.
    """
    before = _total_changes(connection)
    connection.exec_driver_sql(f"INSERT INTO {INDEX.name}({INDEX.name}, rank) VALUES ('merge', {pages})")
    connection.commit()
    return _total_changes(connection) - before


def _total_changes(connection: Connection) -> int:
    driver: Any = connection.connection.driver_connection
    return int(driver.total_changes)
