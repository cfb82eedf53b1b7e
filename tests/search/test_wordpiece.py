"""WordPiece against known encodings of BERT's uncased models."""

from __future__ import annotations

from app.search import wordpiece
from app.search.wordpiece import WordPiece


def test_wordpiece_cuts_as_berts_uncased_models_do() -> None:
    encoded = WordPiece().encode("Hello, wörld! I'm embedding unaffable.", limit=128)
    assert encoded == [101, 7592, 1010, 2088, 999, 1045, 1005, 1049, 7861, 8270, 4667, 14477, 20961, 3468, 1012, 102]


def test_wordpiece_keeps_to_its_limit() -> None:
    assert len(WordPiece().encode("word " * 500, limit=128)) == 128
    assert WordPiece().encode("", limit=128) == [wordpiece.START, wordpiece.END]


def test_the_pieces_that_say_something_are_known() -> None:
    tokenizer = WordPiece()
    assert tokenizer.places_that_say("What about unaffable?", frozenset({"what", "about"}), limit=128) == [3, 4, 5]
    assert tokenizer.places_that_say("What?", frozenset({"what"}), limit=128) == [1, 2]
