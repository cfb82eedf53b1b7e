"""Embeddings as numbers, to compare them in tests."""

from __future__ import annotations

import struct

from app.search.embedder import Embedding


def numbers(embedding: Embedding) -> tuple[float, ...]:
    return struct.unpack(f"<{len(embedding.vector) // 2}e", embedding.vector)


def likeness(one: Embedding, other: Embedding) -> float:
    return sum(a * b for a, b in zip(numbers(one), numbers(other), strict=True))
