"""HashEmbedder: vectors from hashed words, without a model. The same on every machine; for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from app.search.embedder import Embedding, pack
from app.search.words import terms

WIDTH = 64


class HashEmbedder:
    """Adds each term to one of 64 dimensions, chosen by its hash. Only texts that share terms are similar."""

    model = "hash-64"
    patience = 0.020

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        return [Embedding(pack(_hash(text))) for text in texts]

    async def close(self) -> None:
        pass


def _hash(text: str) -> list[float]:
    values = [0.0] * WIDTH
    for term in terms(text):
        number = int.from_bytes(hashlib.blake2b(term.encode(), digest_size=2).digest(), "little")
        values[number % WIDTH] += 1.0 if number & WIDTH else -1.0
    return values
