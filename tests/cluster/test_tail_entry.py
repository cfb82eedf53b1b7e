"""Entries of the tail, and what a successor makes of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.cluster import tail_entry
from app.cluster.tail_entry import Entry
from app.cluster.tail_rescue import lacking, unbroken
from app.domain.event import EventKind
from app.events.run import Run

CHUNK = st.binary(max_size=12)


def text(first: int, *chunks: bytes) -> Run:
    return Run(first, first + len(chunks) - 1, EventKind.TEXT, chunks=list(chunks), turn_id="t", at_ms=7)


def fact(number: int) -> Run:
    return Run(number, number, EventKind.MEMORY, payload=b'{"chunk": ""}\n', turn_id="t", at_ms=8)


def entry(after: int, upto: int, stored: int = 0) -> Entry:
    return Entry(after, upto, stored, ())


def described(run: Run) -> tuple[object, ...]:
    return (run.first, run.last, run.kind, run.chunks, run.payload, run.turn_id, run.at_ms)


@given(st.lists(st.one_of(st.none(), st.lists(CHUNK, min_size=1, max_size=5)), max_size=5), st.integers(0, 1 << 53))
def test_an_entry_is_read_as_it_was_written(said: list[list[bytes] | None], after: int) -> None:
    runs, number = [], after + 1
    for chunks in said:
        runs.append(fact(number) if chunks is None else text(number, *chunks))
        number = runs[-1].last + 1
    found = tail_entry.decode(tail_entry.encode(after, number, 3, runs))
    assert (found.after, found.upto, found.stored) == (after, number, 3)
    assert [described(run) for run in found.runs] == [described(run) for run in runs]
    assert found.has_facts is (None in said)


def test_of_an_entry_a_reader_in_the_middle_gets_the_rest() -> None:
    whole = Entry(0, 4, 0, (text(1, b"a", b"b", b"c"), fact(4)))
    assert [described(run) for run in whole.runs_after(2)] == [described(text(3, b"c")), described(fact(4))]
    assert whole.runs_after(4) == []


def test_only_the_newest_entries_without_a_gap_count_and_only_if_what_was_before_is_stored() -> None:
    whole = [entry(10, 12), entry(12, 15, stored=11), entry(15, 16)]
    assert unbroken(whole) == whole
    assert unbroken([entry(3, 9, stored=3), entry(10, 12, stored=10), entry(12, 13)]) == [
        entry(10, 12, stored=10),
        entry(12, 13),
    ]
    assert unbroken([entry(3, 9, stored=3), entry(10, 12, stored=9)]) == []  # number 10 is nowhere
    assert unbroken([]) == []


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), max_size=4), st.integers(1, 6), st.integers(1, 6))
def test_what_the_journal_lacks_is_all_that_no_stored_range_has(
    ranges: list[tuple[int, int]], first: int, count: int
) -> None:
    run = text(first, *[b"%d" % (first + place) for place in range(count)])
    stored = sorted((begin, begin + more) for begin, more in ranges)
    taken = {number for begin, end in stored for number in range(begin, end + 1)}
    parts = list(lacking(run, stored))
    found = [(number, chunk) for part in parts for number, chunk in part.numbered()]
    assert found == [(number, b"%d" % number) for number in range(run.first, run.last + 1) if number not in taken]
