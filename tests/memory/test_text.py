"""Tokens, stems and names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.memory.text import find_names, name_parts, pieces, stem, terms, without_names, words


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("hopping", "hop"),
        ("filing", "file"),
        ("relational", "relat"),
        ("happy", "happi"),
        ("generalizations", "gener"),
        ("oscillators", "oscil"),
        ("controlling", "control"),
        ("sky", "sky"),
        ("2023", "2023"),
        ("größe", "größe"),
    ],
)
def test_stems_are_porters(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_terms_leave_out_what_says_nothing() -> None:
    assert terms("What did you say about the painted houses?") == ["sai", "paint", "hous"]


def test_irregular_forms_are_found_as_one_word() -> None:
    assert terms("She went, he has gone, I will go") == ["go", "go", "go"]
    assert terms("I won't say that I won") == ["sai", "win"]


def test_accents_and_case_do_not_matter() -> None:
    assert words("ÅNGSTRÖM café") == words("angstrom CAFÉ") == ["angstrom", "cafe"]


def test_scripts_without_spaces_are_cut_into_pairs() -> None:
    assert words("我住在奥斯陆 now") == ["我住", "住在", "在奥", "奥斯", "斯陆", "now"]


def test_participants_names_are_cut_out_with_their_possessives() -> None:
    names = name_parts(["Deborah Hill", "Tom"])
    assert without_names("What is Deborah's job, and Tom’s? Deb told me", names) == "What is job, and ? told me"
    assert find_names("Has Deb met Tom?", names) == {"deborah", "tom"}


def test_a_name_that_is_also_a_word_counts_only_with_its_capital() -> None:
    names = name_parts(["Will"])
    assert find_names("will it rain?", names) == set()
    assert find_names("Does Will like rain?", names) == {"will"}


def test_roles_are_no_names() -> None:
    assert name_parts(["user", "Assistant"]) == frozenset()


@given(st.text())
def test_any_text_has_terms_that_an_index_can_hold(text: str) -> None:
    for term in terms(text):
        assert term
        assert not set(term) & set(" \"'\\\0")


@given(st.text(alphabet=st.sampled_from("ab .!?\n"), max_size=200), st.integers(1, 8))
def test_pieces_have_every_word_in_order_and_never_too_many(text: str, most: int) -> None:
    found = pieces(text, most_words=most)
    assert " ".join(found).split() == text.split()
    assert all(0 < len(piece.split()) <= most for piece in found)


def test_pieces_are_whole_sentences_where_they_can_be() -> None:
    assert pieces("One two. Three four five. Six.", most_words=5) == ["One two. Three four five.", "Six."]
