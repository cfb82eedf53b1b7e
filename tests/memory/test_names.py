"""Participants' names: found in a text, and cut out of it."""

from __future__ import annotations

from app.memory.names import find_names, name_parts, without_names


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
