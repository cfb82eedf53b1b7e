"""Embedder: the seam that turns texts into vectors. Implementations are in files of their own beside this one."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Embedding:
    """`vector`: a unit vector, float16, little-endian.

    `pieces`, for late interaction: the row width in two bytes (little-endian), then one row of int8 per token.
    `None` when the embedder gives no token vectors.
    """

    vector: bytes
    pieces: bytes | None = None


class EmbeddingFailed(Exception):
    """The embedder failed; the message says why."""


class Embedder(Protocol):
    """`model` is stored with each vector; vectors of different models are never compared."""

    @property
    def model(self) -> str: ...

    @property
    def patience(self) -> float:
        """Seconds that a recall waits for the question's embedding before it answers by keyword only."""
        ...

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        """One embedding per text, in the same order. With `is_query` the call does not queue behind a batch.

        Raises:
            EmbeddingFailed: no text was embedded.
        """
        ...

    async def close(self) -> None: ...


def pack(values: Sequence[float]) -> bytes:
    """Scale numbers to a unit vector and encode it as float16, little-endian."""
    length = math.sqrt(math.fsum([value * value for value in values])) or 1.0
    return struct.pack(f"<{len(values)}e", *[value / length for value in values])
