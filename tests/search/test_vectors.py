"""The cache of vectors: what it compares, keeps, drops and evicts."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import pytest

from app.search.vectors import Vectors

Rows = dict[str, list[tuple[int, list[float]]]]


class Store:
    """Rows of owners, as a database has them. `asked`: the rows beyond which it was read, by owner."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.asked: list[dict[str, int]] = []

    def load(self, since: Mapping[str, int]) -> Iterable[tuple[str, int, bytes]]:
        self.asked.append(dict(since))
        for owner, after in since.items():
            for row, numbers in reversed(self.rows.get(owner, [])):
                if row > after:
                    yield owner, row, struct.pack(f"<{len(numbers)}e", *numbers)


def ask(vectors: Vectors, store: Store, *owners: str, most: int = 10) -> list[int]:
    scan = vectors.scan(owners, "m", struct.pack("<2e", 0.0, 1.0), load=store.load, most=most)
    return scan.closest if scan is not None else []


def test_the_closest_rows_of_the_owners_come_first() -> None:
    store = Store({"ann": [(1, [1.0, 0.0]), (2, [0.6, 0.8])], "bob": [(3, [0.0, 1.0])]})
    vectors = Vectors()
    assert ask(vectors, store, "ann") == [2, 1]
    assert ask(vectors, store, "ann", "bob") == [3, 2, 1]
    assert ask(vectors, store, "ann", "bob", most=1) == [3]
    assert ask(vectors, store, "eve") == []


def test_cosines_and_pairs_are_told_of_rows_that_have_a_vector() -> None:
    store = Store({"ann": [(1, [1.0, 0.0]), (2, [0.6, 0.8])], "bob": [(3, [0.0, 1.0])]})
    scan = Vectors().scan(("ann", "bob"), "m", struct.pack("<2e", 0.0, 1.0), load=store.load, most=10)
    assert scan is not None
    assert scan.cosines([2, 3, 77]) == {2: pytest.approx(0.8, abs=1e-3), 3: 1.0}
    assert scan.alike([1, 2, 3], 0.7) == {(2, 3), (3, 2)}


def test_only_what_is_new_is_read_and_it_is_seen_at_once() -> None:
    store = Store({"ann": [(n, [1.0, 0.0]) for n in range(1, 100)]})
    vectors = Vectors()
    ask(vectors, store, "ann")
    store.rows["ann"].append((100, [0.0, 1.0]))
    assert ask(vectors, store, "ann", most=1) == [100]
    assert store.asked == [{"ann": 0}, {"ann": 99}]
    assert vectors.size == 100


def test_of_several_vectors_of_a_row_the_closest_counts() -> None:
    store = Store({"ann": [(1, [1.0, 0.0, 0.0, 1.0]), (2, [0.6, 0.8]), (3, [1.0, 0.0, 1.0])]})
    vectors = Vectors(several=True)
    assert ask(vectors, store, "ann") == [1, 2]
    store.rows["ann"].append((4, [1.0, 0.0, 1.0, 0.0]))
    assert ask(vectors, store, "ann") == [1, 2, 4]


def test_a_vector_of_another_width_is_not_compared() -> None:
    assert ask(Vectors(), Store({"ann": [(1, [1.0, 0.0, 0.0, 1.0])]}), "ann") == []


def test_what_is_dropped_while_it_is_read_is_not_kept() -> None:
    store = Store({"ann": [(1, [1.0, 0.0])]})
    vectors = Vectors()

    def load(since: Mapping[str, int]) -> Iterable[tuple[str, int, bytes]]:
        found = list(store.load(since))
        vectors.drop(["ann"])
        return found

    assert vectors.scan(("ann",), "m", struct.pack("<2e", 0.0, 1.0), load=load, most=10) is not None
    assert vectors.size == 0


def test_dropping_an_owner_leaves_the_others() -> None:
    store = Store({"ann": [(1, [1.0, 0.0])], "bob": [(2, [1.0, 0.0]), (3, [0.0, 1.0])]})
    vectors = Vectors()
    ask(vectors, store, "ann", "bob")
    vectors.drop(["ann"])
    assert vectors.size == 2
    vectors.drop()
    assert vectors.size == 0


def test_the_least_recently_used_owner_is_evicted() -> None:
    store = Store({name: [(n, [1.0, 0.0]) for n in range(1, 5)] for name in ("ann", "bob", "eve")})
    vectors = Vectors(max_vectors=10)
    for name in ("ann", "bob", "ann", "eve"):
        ask(vectors, store, name)
    assert vectors.size == 8
    ask(vectors, store, "ann")
    ask(vectors, store, "bob")
    assert store.asked[-2:] == [{"ann": 4}, {"bob": 0}]


def test_no_more_than_its_share_of_an_owner_is_kept() -> None:
    store = Store({"ann": [(1, [1.0, 0.0] * 2), (2, [1.0, 0.0] * 2), (3, [0.0, 1.0])]})
    vectors = Vectors(max_per_owner=3, several=True)
    assert set(ask(vectors, store, "ann")) == {1, 2}
    assert vectors.size == 4
    ask(vectors, store, "ann")
    assert store.asked[-1] == {}


def test_a_question_of_another_width_finds_nothing_and_spoils_nothing() -> None:
    store = Store({"ann": [(1, [1.0, 0.0]), (2, [0.6, 0.8])]})
    vectors = Vectors()
    assert ask(vectors, store, "ann") == [2, 1]
    assert vectors.scan(["ann"], "m", struct.pack("<3e", 0.0, 0.0, 1.0), load=store.load, most=10) is None
    assert ask(vectors, store, "ann") == [2, 1]


def test_where_several_write_a_late_row_is_put_in_its_place() -> None:
    store = Store({"ann": [(1, [1.0, 0.0]), (3, [0.6, 0.8])], "bob": [(4, [1.0, 0.0])]})
    vectors = Vectors(again_seconds=30.0)
    assert ask(vectors, store, "ann", "bob") == [3, 1, 4]
    store.rows["ann"].append((2, [0.0, 1.0]))
    assert ask(vectors, store, "ann", "bob") == [2, 3, 1, 4]
    store.rows["ann"].append((5, [0.8, 0.6]))
    assert ask(vectors, store, "ann", "bob") == [2, 3, 5, 1, 4]
    assert vectors.size == 5
