"""Late interaction: token vectors compared alone and in groups."""

from __future__ import annotations

import itertools
import struct

from app.search.late_interaction import compare_pieces


def pieces(*rows: tuple[int, int]) -> bytes:
    return b"\2\0" + struct.pack(f"<{2 * len(rows)}b", *itertools.chain.from_iterable(rows))


def test_pieces_are_compared_alone_and_with_those_said_before() -> None:
    stored = {1: pieces((0, 9)), 2: pieces((9, 0), (-9, 0)), 3: b"\3\0aaa"}
    found = compare_pieces(stored, {1: (), 2: (1, 77), 3: (1,), 4: (1,)}, pieces((5, 0), (0, 7)))
    assert found == {1: (0.5, 0.5), 2: (0.5, 1.0)}


def test_a_question_without_pieces_is_compared_with_nothing() -> None:
    assert compare_pieces({1: pieces((0, 9))}, {1: ()}, pieces()) == {}
