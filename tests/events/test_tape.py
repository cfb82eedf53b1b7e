"""The tape: everything a turn has said, in pieces of any size, with the same text and numbers."""

from __future__ import annotations

import json
from array import array

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import EventKind
from app.events.run import FRAME_BYTES, fact_run
from app.events.tape import Segment, Tape
from app.llm.base import escape, unescape
from tests.fixtures.events import an_event

WORDS = st.text(alphabet=st.sampled_from('aü€😀"\\\n '), max_size=5)
Deltas = list[tuple[EventKind, list[str]]]
DELTAS = st.lists(
    st.tuples(st.sampled_from([EventKind.TEXT, EventKind.THINKING]), st.lists(WORDS, min_size=1, max_size=5)),
    max_size=12,
)


def recorded(deltas: Deltas, *, facts: bool = False) -> tuple[Tape, int]:
    """A tape with numbers from 5 on, and the last number."""
    tape, seq = Tape("t1"), 5
    for place, (kind, texts) in enumerate(deltas):
        tape.add(kind, seq, chunks := [escape(text) for text in texts], b"".join(chunks))
        seq += len(texts)
        if facts and place % 3 == 0:
            tape.add_fact(fact_run(seq, an_event(EventKind.DEBUG)))
            seq += 1
    return tape, seq - 1


@given(DELTAS, st.booleans())
def test_the_text_is_what_was_said(deltas: Deltas, facts: bool) -> None:
    tape, _ = recorded(deltas, facts=facts)
    assert tape.text() == "".join([text for kind, texts in deltas for text in texts if kind is EventKind.TEXT])


@given(DELTAS)
def test_lengths_in_characters_cut_the_text_where_the_deltas_were(deltas: Deltas) -> None:
    tape, _ = recorded(deltas)
    found = []
    for segment in tape.segments():
        place = 0
        for length in segment.character_lengths():
            found.append(segment.text()[place : place + length])
            place += length
    assert found == [text for _, texts in deltas for text in texts]


@given(DELTAS, st.integers(1, 60), st.booleans(), st.integers(4, 30))
def test_reading_in_pieces_gives_every_number_and_all_text(deltas: Deltas, limit: int, merge: bool, after: int) -> None:
    tape, last = recorded(deltas, facts=True)
    after = min(after, last)
    whole = [(number, frame) for run in tape.read(after, 10**9, merge=False) for number, frame in run.frames()]
    cursor, found = after, []
    while runs := tape.read(cursor, limit, merge=merge):
        for run in runs:
            assert run.first == cursor + 1
            cursor = run.last
            found += list(run.frames())
    assert cursor == last
    if not merge:
        assert found == whole
        return
    assert {number for number, _ in found} <= {number for number, _ in whole}
    for kind in (None, "thinking"):
        texts = ["".join([frame["chunk"] for _, frame in part if frame.get("type") == kind]) for part in (found, whole)]
        assert texts[0] == texts[1]


def test_a_merged_frame_carries_the_number_of_its_last_delta() -> None:
    tape, _ = recorded([(EventKind.TEXT, ["a", "b"]), (EventKind.TEXT, ["c"])])
    (run,) = tape.read(5, 100, merge=True)
    assert (run.first, run.last, run.chunks) == (6, 7, [b"bc"])


def test_a_delta_larger_than_the_limit_is_given_alone() -> None:
    tape, _ = recorded([(EventKind.TEXT, ["x" * 100, "y"])])
    assert [run.last for run in tape.read(4, 10, merge=True)] == [5]


def test_a_fact_that_is_not_committed_hides_what_follows() -> None:
    tape = Tape("t1")
    tape.add(EventKind.TEXT, 5, [b"a"], b"a")
    fact = fact_run(6, an_event(EventKind.TURN_QUEUED, "t2"), ready=False)
    tape.add_fact(fact)
    tape.add(EventKind.TEXT, 7, [b"b"], b"b")
    assert [run.last for run in tape.read(4, 100, merge=True)] == [5]
    fact.ready = True
    assert [run.last for run in tape.read(4, 1000, merge=True)] == [5, 6, 7]


def test_a_gap_in_the_numbers_begins_a_new_segment() -> None:
    tape = Tape("t1")
    tape.add(EventKind.TEXT, 5, [b"a"], b"a")
    tape.add(EventKind.TEXT, 7, [b"b"], b"b")
    assert [(segment.first, segment.last) for segment in tape.segments()] == [(5, 5), (7, 7)]


@pytest.mark.parametrize(("after", "covered"), [(3, False), (4, True), (9, True)])
def test_it_knows_whether_it_reaches_back_to_a_cursor(after: int, covered: bool) -> None:
    tape, _ = recorded([(EventKind.TEXT, ["a", "b"])])
    assert tape.covers(after) is covered
    assert not Tape("empty").covers(after)


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (b"plain", "plain"),
        (rb"\n\t\"\\\/", '\n\t"\\/'),
        (rb"\u20ac", "€"),
        (rb"\ud83d\ude00", "😀"),
        ("😀€".encode(), "😀€"),
        (rb"half \ud83d a pair", "half \ufffd a pair"),
        (rb"the other \ude00 half", "the other \ufffd half"),
        (rb"at the end \ud83d", "at the end \ufffd"),
        (b"no \xff UTF-8", "no \ufffd UTF-8"),
        (b"a raw\nline", "a raw\nline"),
        ("\ufeffa mark".encode(), "\ufeffa mark"),
        ("\ufeffand ".encode() + rb"\ud83d", "\ufeffand \ufffd"),
        (b"", ""),
    ],
)
def test_escapes_become_text_and_half_pairs_a_replacement(escaped: bytes, text: str) -> None:
    assert unescape(escaped) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_unescape_undoes_escape(text: str) -> None:
    assert unescape(escape(text)) == text
    assert unescape(json.dumps(text)[1:-1].encode()) == text


@given(st.lists(st.sampled_from([rb"\ud83d", rb"\ude00", b"a", "€".encode(), rb"\n", rb"\\"]), max_size=8))
def test_whatever_the_halves_the_result_can_be_stored(parts: list[bytes]) -> None:
    text = unescape(b"".join(parts))
    assert orjson.loads(orjson.dumps(text)) == text


def test_chunks_of_a_segment_are_taken_by_place() -> None:
    segment = Segment(5, EventKind.TEXT, [b"ab", b"cde"], array("I", [1, 1, 3]))
    assert segment.chunks(1) == [b"b", b"cde"]
    assert segment.chunks(0, 2) == [b"a", b"b"]
    assert segment.escaped() == b"abcde"
    assert segment.parts == [b"abcde"]


def test_a_long_segment_is_the_same_in_pieces_of_any_size() -> None:
    words = [escape("ü" * (place % 7)) for place in range(10_000)]
    tape = Tape("t1")
    tape.add(EventKind.TEXT, 5, words, b"".join(words))

    for merge in (False, True):
        for after in (4, 100, 4_099, 4_100, 4_101, 8_197, 10_003):
            rest, place = words[after - 4 :], after
            assert tape.size_after(after) == sum([len(word) + FRAME_BYTES for word in rest])
            found = b""
            while place < 10_004:
                (run,) = tape.read(place, 3_000, merge=merge)
                assert run.first == place + 1
                assert len(run.text) <= 3_000
                found, place = found + run.text, run.last
            assert found == b"".join(rest)
    assert tape.size_after(10_004) == 0
