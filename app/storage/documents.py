"""Documents in the database: units that store and delete files and chunks; queries of one store or several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, case, delete, exists, func, insert, select, update

from app.storage import document_text, tables
from app.storage.document_text import store_word
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.stem_index import rarest

PART = 500
"""Chunks that one unit deletes, so that other writers get their turn."""
MOST_MATCHES = 3_000
"""Chunks that the full text sorts for one question at most."""

_f, _c, _v = tables.document_files, tables.document_chunks, tables.document_vectors

_ADD_FILE = insert(_f)
_SAVE_FILE = (
    update(_f)
    .where(_f.c.file_id == bindparam("the_file"))
    .values({name: bindparam(f"new_{name}") for name in _f.c.keys() if name not in ("file_id", "store")})  # noqa: SIM118
)
_ADD_CHUNK = insert(_c)
_PLACE_CHUNK = (
    update(_c)
    .where(_c.c.row == bindparam("the_row"))
    .values(place=bindparam("new_place"), position=bindparam("new_position"))
)
# Vectors that arrive after their chunk was deleted find no row to belong to.
_ADD_VECTORS = insert(_v).from_select(
    ["row", "model", "store_word", "vectors"],
    select(
        _c.c.row,
        bindparam("the_model", type_=_v.c.model.type),
        _c.c.store_word,
        bindparam("the_vectors", type_=_v.c.vectors.type),
    ).where(
        _c.c.row == bindparam("the_row"),
        ~exists().where(_v.c.row == bindparam("the_row"), _v.c.model == bindparam("the_model")),
    ),
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it was read. `problem`: why it, or a part of it, could not be read."""

    file_id: str
    store: str
    path: str
    size: int
    mtime_ns: int
    digest: str
    fingerprint: str
    chunks: int
    problem: str | None
    read_ms: int


@dataclass(frozen=True, slots=True)
class NewChunk:
    place: int
    heading: str
    position: int
    text: str
    terms: str
    digest: str


@dataclass(frozen=True, slots=True)
class StoredChunk:
    row: int
    digest: str
    place: int
    position: int


@dataclass(slots=True)
class IndexedChunk:
    """A chunk with its file, as search needs it."""

    row: int
    file_id: str
    place: int
    heading: str
    position: int
    text: str
    terms: str
    store: str
    path: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of one store. `embedded`: chunks with vectors of a given model."""

    files: int = 0
    problems: int = 0
    chunks: int = 0
    embedded: int = 0


# -- units -----------------------------------------------------------------------------------------------------


def add_file(unit: UnitOfWork, file: StoredFile) -> None:
    unit.add(_ADD_FILE, _values(file))


def save_file(unit: UnitOfWork, file: StoredFile) -> None:
    """Update a file; its id and store do not change."""
    values = _values(file)
    del values["store"]
    unit.add(_SAVE_FILE, {"the_file": values.pop("file_id")} | {f"new_{name}": value for name, value in values.items()})


def add_chunks(unit: UnitOfWork, *, store: str, file_id: str, chunks: Sequence[NewChunk]) -> None:
    word = store_word(store)
    for chunk in chunks:
        values = {name: getattr(chunk, name) for name in ("place", "heading", "position", "text", "terms", "digest")}
        unit.add(_ADD_CHUNK, {"store_word": word, "file_id": file_id, **values})


def place_chunk(unit: UnitOfWork, row: int, *, place: int, position: int) -> None:
    unit.add(_PLACE_CHUNK, {"the_row": row, "new_place": place, "new_position": position})


def add_vectors(unit: UnitOfWork, *, row: int, model: str, vectors: bytes) -> None:
    unit.add(_ADD_VECTORS, {"the_row": row, "the_model": model, "the_vectors": vectors})


def delete_chunks(unit: UnitOfWork, rows: Sequence[int]) -> None:
    """Delete chunks with their vectors and full text; at most `PART` of them."""

    def execute(connection: Connection) -> None:
        connection.execute(delete(_v).where(_v.c.row.in_(rows)))
        connection.execute(delete(_c).where(_c.c.row.in_(rows)))

    unit.calls.append(execute)


def delete_file(unit: UnitOfWork, file_id: str) -> None:
    """Delete a file that has no chunks."""
    unit.calls.append(lambda connection: connection.execute(delete(_f).where(_f.c.file_id == file_id)))


# -- queries ---------------------------------------------------------------------------------------------------


def stores(connection: Connection) -> list[str]:
    """The stores that have files in the database."""
    return list(connection.execute(select(_f.c.store).distinct()).scalars())


def files(connection: Connection, store: str) -> list[StoredFile]:
    query = select(_f).where(_f.c.store == store).order_by(_f.c.path)
    return [_file(row) for row in connection.execute(query)]


def page(
    connection: Connection, store: str, *, after: str, limit: int, only_problems: bool = False
) -> list[StoredFile]:
    """A page of files in the order of their paths, beyond `after`."""
    query = select(_f).where(_f.c.store == store, _f.c.path > after).order_by(_f.c.path).limit(limit)
    if only_problems:
        query = query.where(_f.c.problem.is_not(None))
    return [_file(row) for row in connection.execute(query)]


def chunks_of(connection: Connection, file_id: str) -> list[StoredChunk]:
    """A file's chunks, in order."""
    columns = (_c.c.row, _c.c.digest, _c.c.place, _c.c.position)
    query = select(*columns).where(_c.c.file_id == file_id).order_by(_c.c.place, _c.c.row)
    return [StoredChunk(**row._mapping) for row in connection.execute(query)]


def counts(connection: Connection, store: str, *, model: str) -> Counts:
    problems = func.sum(case((_f.c.problem.is_not(None), 1), else_=0))
    found = connection.execute(select(func.count(), problems).where(_f.c.store == store)).one()
    word = store_word(store)
    chunks = connection.execute(select(func.count()).select_from(_c).where(_c.c.store_word == word)).scalar()
    with_vector = and_(_v.c.store_word == word, _v.c.model == model)
    embedded = connection.execute(select(func.count()).select_from(_v).where(with_vector)).scalar()
    return Counts(found[0], int(found[1] or 0), chunks or 0, embedded or 0)


def size(connection: Connection, words: Sequence[str]) -> int:
    """How many chunks the stores (by their words) have."""
    return int(connection.execute(select(func.count()).select_from(_c).where(_c.c.store_word.in_(words))).scalar() or 0)


def candidates(
    connection: Connection, words: Sequence[str], terms: Iterable[str], *, total: int, limit: int
) -> tuple[list[int], Mapping[str, int]]:
    """Rows nominated by full text, best first, and how many chunks contain each term."""
    frequencies = {term: document_text.INDEX.count(connection, words, term) for term in terms}
    wanted = {term: frequencies[term] for term in rarest(frequencies, most=MOST_MATCHES)}
    return document_text.search(connection, words, wanted, size=total, limit=limit), frequencies


_COLUMNS = (
    *(_c.c.row, _c.c.file_id, _c.c.place, _c.c.heading, _c.c.position, _c.c.text, _c.c.terms),
    *(_f.c.store, _f.c.path, _f.c.mtime_ns),
)
_INDEXED = select(*_COLUMNS).join(_f, _f.c.file_id == _c.c.file_id)


def indexed(connection: Connection, words: Sequence[str], rows: Sequence[int]) -> list[IndexedChunk]:
    """The chunks of these rows that still exist."""
    query = _INDEXED.where(_c.c.row.in_(rows), _c.c.store_word.in_(words))
    return [IndexedChunk(**found._mapping) for found in connection.execute(query)] if rows else []


def vectors_beyond(connection: Connection, since: Mapping[str, int], *, model: str) -> Iterator[tuple[str, int, bytes]]:
    """(word, row, vectors) of each store's chunks beyond a row; stores are named by their words."""
    query = select(_v.c.row, _v.c.vectors).where(_v.c.model == model)
    for word, last in since.items():
        for row, vectors in connection.execute(query.where(_v.c.store_word == word, _v.c.row > last)):
            yield word, row, vectors


def without_vectors(
    connection: Connection, words: Sequence[str], model: str, *, after: int, limit: int
) -> list[tuple[int, str, str]]:
    """(row, heading, text) of chunks beyond row `after` without vectors of the model."""
    has_vectors = exists().where(_v.c.row == _c.c.row, _v.c.model == model)
    query = select(_c.c.row, _c.c.heading, _c.c.text).where(_c.c.store_word.in_(words), _c.c.row > after, ~has_vectors)
    return [
        (found.row, found.heading, found.text) for found in connection.execute(query.order_by(_c.c.row).limit(limit))
    ]


def _values(file: StoredFile) -> dict[str, Any]:
    return {name: getattr(file, name) for name in StoredFile.__slots__}


def _file(row: Row[Any]) -> StoredFile:
    return StoredFile(**row._mapping)
