"""Pacing: whatever the size of the pieces and wherever a reader comes back, they join to the text."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.domain.event import EventKind
from app.doors.pacing import Pacer, Piece
from app.events.run import Run
from app.llm.base import escape

TEXT = st.text(alphabet=st.sampled_from('ab€😀"\\\n'), max_size=12)
BATCHES = st.lists(st.lists(TEXT, min_size=1, max_size=4), min_size=1, max_size=5)
SIZES = st.integers(0, 9)


def runs_of(batches: list[list[str]], *, after: int = 0) -> list[Run]:
    """One run a batch, numbered from 1 on; without the events up to `after`."""
    runs, seq = [], 1
    for texts in batches:
        kept = [text for number, text in enumerate(texts, seq) if number > after]
        seq += len(texts)
        if kept:
            first = seq - len(kept)
            runs.append(Run(first, seq - 1, EventKind.TEXT, chunks=[escape(text) for text in kept]))
    return runs


def paced(pacer: Pacer, runs: list[Run]) -> list[Piece]:
    """What a reader is sent when the runs come one by one, and then the turn ends."""
    pieces: list[Piece] = []
    for run in runs:
        pacer.add(run)
        while (piece := pacer.next(is_last=False)) is not None:
            pieces.append(piece)
    while (piece := pacer.next(is_last=True)) is not None:
        pieces.append(piece)
    return pieces


def joined(pieces: list[Piece]) -> str:
    return "".join([piece.text for piece in pieces])


@given(BATCHES, SIZES, st.booleans())
def test_pieces_join_to_the_text(batches: list[list[str]], size: int, whole: bool) -> None:
    texts = [text for batch in batches for text in batch]
    pieces = paced(Pacer(size, whole=whole), runs_of(batches))
    assert joined(pieces) == "".join(texts)
    if size:
        assert all(len(piece.text) <= size for piece in pieces)
    elif whole:
        assert len([piece for piece in pieces if piece.text]) <= 1


@given(BATCHES, SIZES, st.booleans())
def test_a_cursor_says_how_much_was_sent(batches: list[list[str]], size: int, whole: bool) -> None:
    texts = [text for batch in batches for text in batch]
    pieces = paced(Pacer(size, whole=whole), runs_of(batches))
    sent = ""
    for piece in pieces:
        sent += piece.text
        events = texts[: piece.seq - 1] if piece.offset else texts[: piece.seq]
        said = "".join(events) + (texts[piece.seq - 1][: piece.offset] if piece.offset else "")
        assert said == sent
    cursors = [(piece.seq, piece.offset or 10**9) for piece in pieces]
    assert cursors == sorted(cursors)


@given(BATCHES, SIZES, SIZES, st.data())
def test_a_reader_that_comes_back_with_any_cursor_gets_the_rest(
    batches: list[list[str]], size: int, other: int, data: st.DataObject
) -> None:
    texts = [text for batch in batches for text in batch]
    pieces = paced(Pacer(size), runs_of(batches))
    if not pieces:
        return
    upto = data.draw(st.integers(1, len(pieces)))
    last = pieces[upto - 1]
    skip = (last.seq, last.offset) if last.offset else None
    runs = runs_of(batches, after=last.seq - 1 if skip else last.seq)
    rest = paced(Pacer(other, skip=skip), runs)
    assert joined(pieces[:upto]) + joined(rest) == "".join(texts)


def test_a_piece_inside_an_event_is_numbered_with_its_characters() -> None:
    pieces = paced(Pacer(3), runs_of([["abcde", "fg"]]))
    assert [(piece.text, piece.cursor) for piece in pieces] == [("abc", b"1:3"), ("def", b"2:1"), ("g", b"2")]
    assert pieces[0].wire(with_id=True) == b'id: 1:3\ndata: {"chunk": "abc"}\n\n'
    assert pieces[0].wire(with_id=False) == b'data: {"chunk": "abc"}\n\n'


def test_one_whole_answer_waits_for_its_end() -> None:
    pacer = Pacer(0, whole=True)
    for run in runs_of([["a", "b"], ["c"]]):
        pacer.add(run)
        assert pacer.next(is_last=False) is None
    piece = pacer.next(is_last=True)
    assert piece is not None
    assert (piece.text, piece.cursor) == ("abc", b"3")
    assert pacer.next(is_last=True) is None


def test_what_was_not_sent_can_be_dropped() -> None:
    pacer = Pacer(1)
    pacer.add(runs_of([["abc"]])[0])
    assert pacer.next(is_last=False) is not None
    pacer.clear()
    assert pacer.next(is_last=True) is None
    pacer.add(runs_of([["abc"], ["de"]])[1])
    piece = pacer.next(is_last=True)
    assert piece is not None
    assert (piece.text, piece.cursor) == ("d", b"2:1")


def test_a_cursor_beyond_the_end_of_its_event_skips_the_event() -> None:
    pieces = paced(Pacer(0, skip=(1, 99)), runs_of([["abc"], ["de"]]))
    assert [(piece.text, piece.cursor) for piece in pieces] == [("de", b"2")]


@given(TEXT)
def test_a_piece_is_a_frame_like_any_other(text: str) -> None:
    frame = Piece(text, 7, 0).wire(with_id=True)
    head, data, *rest = frame.split(b"\n")
    assert (head, rest) == (b"id: 7", [b"", b""])
    assert orjson.loads(data.removeprefix(b"data: ")) == {"chunk": text}
