"""StemIndex: full text over the stems of a table's texts. FTS5 on SQLite, a GIN index on Postgres.

We compute stems and stop words ourselves (app/search/words.py), so both databases index the same terms and agree on
what matches. The index only nominates candidates; the ranking uses our own cues.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sqlalchemy import DDL, Connection, Table, bindparam, event, text
from sqlalchemy.schema import ExecutableDDLElement


class StemIndex:
    """The index `name` over column `terms` (stems with spaces between) of a table with the key `row`.

    Column `owner` names the owner of a row. On SQLite it is a word of the index, so that rows of other owners are not
    read (measured: 0.36 ms against 4.1).
    """

    def __init__(self, name: str, table: str, *, owner: str) -> None:
        self.name = name
        self._owner = owner
        # Not to_tsvector: its parser splits words by its own rules and the server's locale.
        self.stems = "array_to_tsvector(string_to_array(terms, ' '))"
        self._sqlite = (
            f"CREATE VIRTUAL TABLE {name} USING fts5({owner}, terms, content='{table}', content_rowid='row',"
            " tokenize='unicode61 remove_diacritics 0', detail='column')",
            f"CREATE TRIGGER {name}_added AFTER INSERT ON {table} BEGIN"
            f" INSERT INTO {name}(rowid, {owner}, terms) VALUES (new.row, new.{owner}, new.terms); END",
            f"CREATE TRIGGER {name}_removed AFTER DELETE ON {table} BEGIN"
            f" INSERT INTO {name}({name}, rowid, {owner}, terms)"
            f" VALUES ('delete', old.row, old.{owner}, old.terms); END",
        )
        # No pending list of new rows: every lookup of a term reads it as a whole, up to 4 MB, and the planner then
        # prefers to scan the table (measured: 470 ms for a question in a large scope against 35).
        self._postgres = (f"CREATE INDEX {name} ON {table} USING gin (({self.stems})) WITH (fastupdate = off)",)
        self._sqlite_count = text(f"SELECT count(*) FROM {name} WHERE {name} MATCH :words")
        self._postgres_count = text(
            f"SELECT count(*) FROM {table} WHERE {owner} IN :owners AND {self.stems} @@ CAST(:words AS tsquery)"
        ).bindparams(bindparam("owners", expanding=True))

    def attach(self, table: Table) -> None:
        """Create the index with the table where no revision does: the database in memory."""
        for dialect in ("sqlite", "postgresql"):
            for statement in self._sqlite if dialect == "sqlite" else self._postgres:
                event.listen(table, "after_create", _only_on(dialect, statement))
        event.listen(table, "before_drop", _only_on("sqlite", f"DROP TABLE IF EXISTS {self.name}"))

    def count(self, connection: Connection, owners: Sequence[str], term: str) -> int:
        """How many rows of the owners contain the term."""
        if connection.dialect.name == "sqlite":
            found = connection.execute(self._sqlite_count, {"words": self.match(owners, [term])})
        else:
            found = connection.execute(self._postgres_count, {"words": lexeme(term), "owners": list(owners)})
        return int(found.scalar() or 0)

    def match(self, owners: Sequence[str], terms: Sequence[str]) -> str:
        """An FTS5 query for rows of the owners that contain any of the terms."""
        words = " OR ".join([f'"{term}"' for term in terms])
        return f"{self._owner} : ({' OR '.join(owners)}) AND terms : ({words})"


def rarest(frequencies: Mapping[str, int], *, most: int) -> list[str]:
    """The terms that occur, rarest first, as long as at most `most` rows contain them in sum; at least one.

    Common terms add thousands of rows to sort and no row that the rarer terms do not rank higher.
    """
    found: list[str] = []
    rows = 0
    for term in sorted([term for term, frequency in frequencies.items() if frequency], key=frequencies.__getitem__):
        rows += frequencies[term]
        if found and rows > most:
            break
        found.append(term)
    return found


def weight(size: int, frequency: int) -> float:
    """What a term contributes to a nominated row's score, when `frequency` of `size` rows contain it."""
    return math.log(1 + size / frequency)


def lexeme(term: str) -> str:
    """A term, quoted for Postgres' `tsquery`."""
    quoted = term.replace("\\", "\\\\").replace("'", "''")
    return f"'{quoted}'"


def _only_on(dialect: str, statement: str) -> ExecutableDDLElement:
    ddl: ExecutableDDLElement = DDL(statement)  # type: ignore[no-untyped-call]
    return ddl.execute_if(dialect=dialect)
