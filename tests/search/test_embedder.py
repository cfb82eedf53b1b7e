"""Packed vectors, and the embedder that hashes words."""

from __future__ import annotations

import struct

import pytest

from app.search.embedder import pack
from app.search.hash_embedder import HashEmbedder
from tests.search.vectors import likeness


def test_vectors_are_unit_vectors_of_two_bytes_a_number() -> None:
    assert struct.unpack("<2e", pack([3.0, 4.0])) == pytest.approx((0.6, 0.8), abs=1e-3)
    assert pack([0.0, 0.0]) == bytes(4)


async def test_the_hash_embedder_gives_the_same_words_the_same_vector() -> None:
    one, other, third = await HashEmbedder().embed(["A dog!", "the dog", "trains"])
    assert likeness(one, other) == pytest.approx(1, abs=1e-2)
    assert likeness(one, third) < 0.5
