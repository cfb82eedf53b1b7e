"""Queries of recall: the memories of a scope, candidates of a large one, neighbours, vectors; each names audiences."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    TextClause,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    text,
)

from app.domain.memory import Memory
from app.storage import full_text, tables
from app.storage.memories import from_row
from app.storage.stem_index import rarest, weight

MOST_MATCHES = 2_000
"""Rows that the full text returns for one question at most."""

_AUDIENCES_AT_ONCE = 32
"""Audiences of one statement; a session sees three at most."""


_m, _v = tables.memories, tables.memory_vectors

_INDEX_COLUMNS = (
    _m.c.row,
    _m.c.session_id,
    _m.c.place,
    _m.c.role,
    _m.c.speaker,
    _m.c.created_ms,
    _m.c.text,
    _m.c.terms,
)
_SEEN = _m.c.audience.in_(bindparam("audiences", expanding=True))
_INDEXED = select(*_INDEX_COLUMNS).where(_m.c.row.in_(bindparam("rows", expanding=True)), _SEEN)
# One JSON parameter for all places: binding a pair for each takes longer than the lookup. The places are the outer
# table of the join: otherwise SQLite scans all memories of the audience.
_PLACES = {
    "sqlite": "(SELECT json_extract(value, '$[0]') AS its_session, json_extract(value, '$[1]') AS its_place"
    " FROM json_each(:places)) AS wanted CROSS JOIN memories",
    "postgresql": "(SELECT value ->> 0 AS its_session, CAST(value ->> 1 AS integer) AS its_place"
    " FROM json_array_elements(CAST(:places AS json))) AS wanted CROSS JOIN memories",
}


def _at_places_query(dialect: str, columns: Iterable[ColumnElement[Any]]) -> TextClause:
    names = ", ".join([f"memories.{column.key}" for column in columns])
    return text(
        f"SELECT {names} FROM {_PLACES[dialect]}"
        " WHERE memories.session_id = its_session AND memories.place = its_place AND memories.audience IN :audiences"
    ).bindparams(bindparam("audiences", expanding=True))


_AROUND = {dialect: _at_places_query(dialect, _INDEX_COLUMNS) for dialect in _PLACES}
_NEIGHBOURS = {dialect: _at_places_query(dialect, _m.c) for dialect in _PLACES}
_PIECES = select(_v.c.row, _v.c.pieces).where(
    _v.c.row.in_(bindparam("rows", expanding=True)), _v.c.model == bindparam("the_model"), _v.c.pieces.is_not(None)
)
_BY_ROWS = select(_m).where(_m.c.row.in_(bindparam("rows", expanding=True)), _SEEN)


@dataclass(slots=True)
class Indexed:
    """The columns of a memory that the ranking needs."""

    row: int
    session_id: str
    place: int
    role: str
    speaker: str
    created_ms: int
    text: str
    terms: str


def after(connection: Connection, since: Mapping[str, int], *, limit: int) -> dict[str, list[Indexed]]:
    """The memories of each audience beyond a row, in order; not all of them when there are more than `limit`."""
    found: dict[str, list[Indexed]] = {audience: [] for audience in since}
    for number, parameters in beyond_parameters(since):
        for audience, *values in connection.execute(_after(number), parameters | {"at_most": limit + 1}):
            found[audience].append(Indexed(*values))
    for rows in found.values():
        rows.sort(key=attrgetter("row"))
    return found


@lru_cache
def _after(audiences: int) -> Select[Any]:
    query = select(_m.c.audience, *_INDEX_COLUMNS).where(beyond(_m, audiences))
    return query.limit(bindparam("at_most"))


def count(connection: Connection, since: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The number of memories of each audience beyond a row, and the last of their rows."""
    found = dict.fromkeys(since, (0, 0))
    for number, parameters in beyond_parameters(since):
        found |= {who: (size, last) for who, size, last in connection.execute(_count(number), parameters)}
    return found


@lru_cache
def _count(audiences: int) -> Select[Any]:
    columns = (_m.c.audience, func.count(), func.max(_m.c.row))
    return select(*columns).where(beyond(_m, audiences)).group_by(_m.c.audience)


def beyond(table: Table, audiences: int) -> ColumnElement[bool]:
    """A condition for the rows of several audiences, each beyond a row of its own, in one statement.

    Most audiences have nothing new, and a round trip takes longer than the lookup.
    """
    who, row = table.c.audience, table.c.row
    parts = [and_(who == bindparam(f"audience_{n}"), row > bindparam(f"after_{n}")) for n in range(audiences)]
    return or_(false(), *parts)


def beyond_parameters(since: Mapping[str, int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of audiences, parameters of `beyond`) for each statement that it takes."""
    left = iter(since.items())
    while part := list(itertools.islice(left, _AUDIENCES_AT_ONCE)):
        parameters: dict[str, Any] = {}
        for n, (audience, row) in enumerate(part):
            parameters |= {f"audience_{n}": audience, f"after_{n}": row}
        yield len(part), parameters


def candidates(
    connection: Connection,
    audiences: Sequence[str],
    terms: Iterable[str],
    *,
    total: int,
    limit: int,
    frequent: dict[str, int],
) -> tuple[list[int], dict[str, int]]:
    """Rows nominated by full text, best first, and how many memories contain each term.

    Likeliest is what has most of the terms by rarity. `frequent` is where the numbers of common terms are kept from
    one question to the next; rare ones, which may be telling, are not.
    """
    wanted = list(terms)
    found = full_text.rows(connection, audiences, [term for term in wanted if term not in frequent], MOST_MATCHES + 1)
    for term, rows in found.items():
        if len(rows) > MOST_MATCHES:
            frequent[term] = full_text.INDEX.count(connection, audiences, term)
    frequencies = {term: frequent[term] if term in frequent else len(found[term]) for term in wanted}
    chosen = rarest(frequencies, most=MOST_MATCHES)
    if chosen and chosen[0] in frequent:  # then it is the only one
        found = full_text.rows(connection, audiences, chosen, MOST_MATCHES)
    scores: dict[int, float] = {}
    for term in chosen:
        rarity = weight(total, frequencies[term])
        for row in found[term]:
            scores[row] = scores.get(row, 0.0) + rarity
    best = heapq.nlargest(limit, scores.items(), key=lambda one: (one[1], one[0]))
    return [row for row, _ in best], frequencies


def common(connection: Connection, size: int) -> dict[str, int]:
    """Estimated frequencies of common terms among `size` memories, as far as the database has statistics."""
    numbers = {term: round(share * size) for term, share in full_text.common(connection).items()}
    return {term: number for term, number in numbers.items() if number > MOST_MATCHES}


def indexed(connection: Connection, audiences: Sequence[str], rows: Sequence[int]) -> list[Indexed]:
    found = connection.execute(_INDEXED, {"rows": list(rows), "audiences": list(audiences)})
    return [Indexed(*row) for row in found]


def around(connection: Connection, audiences: Sequence[str], places: Sequence[tuple[str, int]]) -> list[Indexed]:
    """The memories at the given (session, place) that the audiences see."""
    found = _at_places(connection, _AROUND, audiences, places)
    return [Indexed(*values) for values in map(tuple, found)]


def neighbours(connection: Connection, audiences: Sequence[str], places: Sequence[tuple[str, int]]) -> list[Memory]:
    return [from_row(row) for row in _at_places(connection, _NEIGHBOURS, audiences, places)]


def _at_places(
    connection: Connection,
    queries: Mapping[str, TextClause],
    audiences: Sequence[str],
    places: Sequence[tuple[str, int]],
) -> Iterable[Row[Any]]:
    if not places:
        return ()
    parameters = {"places": orjson.dumps(places).decode(), "audiences": list(audiences)}
    return connection.execute(queries[connection.dialect.name], parameters)


def vectors_beyond(connection: Connection, since: Mapping[str, int], *, model: str) -> Iterator[tuple[str, int, bytes]]:
    """(audience, row, vector) of each audience's memories beyond a row, in no order."""
    for number, parameters in beyond_parameters(since):
        found = connection.execute(_vectors(number), parameters | {"the_model": model})
        yield from [(row.audience, row.row, row.vector) for row in found]


@lru_cache
def _vectors(audiences: int) -> Select[Any]:
    query = select(_v.c.audience, _v.c.row, _v.c.vector)
    return query.where(_v.c.model == bindparam("the_model"), beyond(_v, audiences))


def pieces(connection: Connection, rows: Collection[int], *, model: str) -> dict[int, bytes]:
    """The token vectors by row, of the memories that have any."""
    found = connection.execute(_PIECES, {"rows": list(rows), "the_model": model})
    return {one.row: one.pieces for one in found}


def by_rows(connection: Connection, audiences: Sequence[str], rows: Sequence[int]) -> dict[int, Memory]:
    """The memories of these rows that still exist and that the audiences see, by row."""
    found = connection.execute(_BY_ROWS, {"rows": list(rows), "audiences": list(audiences)})
    return {row.row: from_row(row) for row in found}
