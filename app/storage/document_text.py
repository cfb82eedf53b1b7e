"""Full text over the stems of documents: FTS5 on SQLite, a GIN index on Postgres. As `full_text.py` over memories.

The store is a word in the index, so that no other store's chunks are looked at. Both engines only nominate; the
ranking is made of our own cues.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import DDL, Connection, Table, bindparam, event, text
from sqlalchemy.schema import ExecutableDDLElement

NAME = "document_text"

_SQLITE = (
    f"CREATE VIRTUAL TABLE {NAME} USING fts5(store_word, terms, content='document_chunks', content_rowid='row',"
    " tokenize='unicode61 remove_diacritics 0', detail='column')",
    f"CREATE TRIGGER {NAME}_added AFTER INSERT ON document_chunks BEGIN"
    f" INSERT INTO {NAME}(rowid, store_word, terms) VALUES (new.row, new.store_word, new.terms); END",
    f"CREATE TRIGGER {NAME}_removed AFTER DELETE ON document_chunks BEGIN"
    f" INSERT INTO {NAME}({NAME}, rowid, store_word, terms) VALUES ('delete', old.row, old.store_word, old.terms); END",
)
_STEMS = "array_to_tsvector(string_to_array(terms, ' '))"
# New rows into the index at once, as in full_text.py.
_POSTGRES = (f"CREATE INDEX {NAME} ON document_chunks USING gin (({_STEMS})) WITH (fastupdate = off)",)

_SQLITE_SEARCH = text(f"SELECT rowid FROM {NAME} WHERE {NAME} MATCH :words ORDER BY rank LIMIT :at_most")
_SQLITE_COUNT = text(f"SELECT count(*) FROM {NAME} WHERE {NAME} MATCH :words")
_POSTGRES_COUNT = text(
    f"SELECT count(*) FROM document_chunks WHERE store_word IN :stores AND {_STEMS} @@ CAST(:words AS tsquery)"
).bindparams(bindparam("stores", expanding=True))


def attach(table: Table) -> None:
    """Make the index whenever the table is made outside the migrations."""
    for dialect, made in (("sqlite", _SQLITE), ("postgresql", _POSTGRES)):
        for statement in made:
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


def store_word(name: str) -> str:
    """A store's name as one word of the index."""
    return "d" + hashlib.blake2b(name.encode(), digest_size=12).hexdigest()


def count(connection: Connection, stores: Sequence[str], term: str) -> int:
    """How many chunks of the stores (by their words) have the term."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(_SQLITE_COUNT, {"words": _match(stores, [term])})
    else:
        found = connection.execute(_POSTGRES_COUNT, {"words": _lexeme(term), "stores": list(stores)})
    return int(found.scalar() or 0)


def search(
    connection: Connection, stores: Sequence[str], frequencies: Mapping[str, int], *, size: int, limit: int
) -> list[int]:
    """Rows of the stores with any of the terms, the likeliest first; `frequencies` as `count` told them, of `size`."""
    if not frequencies:
        return []
    if connection.dialect.name == "sqlite":
        parameters: dict[str, Any] = {"words": _match(stores, list(frequencies)), "at_most": limit}
        return list(connection.execute(_SQLITE_SEARCH, parameters).scalars())
    parameters = {"stores": list(stores), "at_most": limit}
    parts = []
    for number, (term, frequency) in enumerate(frequencies.items()):  # its own ts_rank knows no rarity
        parameters[f"term_{number}"] = _lexeme(term)
        weight = math.log(1 + size / frequency)
        parts.append(f"CASE WHEN {_STEMS} @@ CAST(:term_{number} AS tsquery) THEN {weight:.4f} ELSE 0 END")
    parameters["words"] = " | ".join([_lexeme(term) for term in frequencies])
    query = text(
        f"SELECT row FROM document_chunks WHERE store_word IN :stores AND {_STEMS} @@ CAST(:words AS tsquery)"
        f" ORDER BY {' + '.join(parts)} DESC, row LIMIT :at_most"
    ).bindparams(bindparam("stores", expanding=True))
    return list(connection.execute(query, parameters).scalars())


def _match(stores: Sequence[str], terms: Sequence[str]) -> str:
    words = " OR ".join([f'"{term}"' for term in terms])
    return f"store_word : ({' OR '.join(stores)}) AND terms : ({words})"


def _lexeme(term: str) -> str:
    quoted = term.replace("\\", "\\\\").replace("'", "''")
    return f"'{quoted}'"
