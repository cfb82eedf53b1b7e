"""Full text over the stems of documents' chunks: the best rows for some terms."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, text

from app.storage.stem_index import StemIndex, lexeme, weight

INDEX = StemIndex("document_text", "document_chunks", owner="store_word")

_SQLITE_SEARCH = text(f"SELECT rowid FROM {INDEX.name} WHERE {INDEX.name} MATCH :words ORDER BY rank LIMIT :at_most")


def store_word(name: str) -> str:
    """A store's name, hashed to one word of the index."""
    return "d" + hashlib.blake2b(name.encode(), digest_size=12).hexdigest()


def search(
    connection: Connection, stores: Sequence[str], frequencies: Mapping[str, int], *, size: int, limit: int
) -> list[int]:
    """Rows of the stores (by their words) that contain any of the terms, best first.

    `frequencies`: how many of `size` chunks contain each term, as `INDEX.count` returns them.
    """
    if not frequencies:
        return []
    if connection.dialect.name == "sqlite":
        parameters: dict[str, Any] = {"words": INDEX.match(stores, list(frequencies)), "at_most": limit}
        return list(connection.execute(_SQLITE_SEARCH, parameters).scalars())
    parameters = {"stores": list(stores), "at_most": limit}
    parts = []
    for number, (term, frequency) in enumerate(frequencies.items()):  # ts_rank does not weight terms by rarity
        parameters[f"term_{number}"] = lexeme(term)
        has_term = f"{INDEX.stems} @@ CAST(:term_{number} AS tsquery)"
        parts.append(f"CASE WHEN {has_term} THEN {weight(size, frequency):.4f} ELSE 0 END")
    parameters["words"] = " | ".join([lexeme(term) for term in frequencies])
    query = text(
        f"SELECT row FROM document_chunks WHERE store_word IN :stores AND {INDEX.stems} @@ CAST(:words AS tsquery)"
        f" ORDER BY {' + '.join(parts)} DESC, row LIMIT :at_most"
    ).bindparams(bindparam("stores", expanding=True))
    return list(connection.execute(query, parameters).scalars())
