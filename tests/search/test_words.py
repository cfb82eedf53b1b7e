"""Words: terms, pieces of text, accents, scripts without spaces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.search.words import split_text, terms, words


def test_terms_leave_out_what_says_nothing() -> None:
    assert terms("What did you say about the painted houses?") == ["sai", "paint", "hous"]


def test_irregular_forms_are_found_as_one_word() -> None:
    assert terms("She went, he has gone, I will go") == ["go", "go", "go"]
    assert terms("I won't say that I won") == ["sai", "win"]


def test_accents_and_case_do_not_matter() -> None:
    assert words("ÅNGSTRÖM café") == words("angstrom CAFÉ") == ["angstrom", "cafe"]


def test_scripts_without_spaces_are_cut_into_pairs() -> None:
    assert words("我住在奥斯陆 now") == ["我住", "住在", "在奥", "奥斯", "斯陆", "now"]


@given(st.text())
def test_any_text_has_terms_that_an_index_can_hold(text: str) -> None:
    for term in terms(text):
        assert term
        assert not set(term) & set(" \"'\\\0")


@given(st.text(alphabet=st.sampled_from("ab .!?\n"), max_size=200), st.integers(1, 8))
def test_pieces_have_every_word_in_order_and_never_too_many(text: str, most: int) -> None:
    found = split_text(text, most_words=most)
    assert " ".join(found).split() == text.split()
    assert all(0 < len(piece.split()) <= most for piece in found)


def test_pieces_are_whole_sentences_where_they_can_be() -> None:
    assert split_text("One two. Three four five. Six.", most_words=5) == ["One two. Three four five.", "Six."]
