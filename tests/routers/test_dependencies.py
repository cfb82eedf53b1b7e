"""Numbers in the query, held to their range."""

from __future__ import annotations

import pytest
from pydantic_core import PydanticCustomError

from app.doors.dependencies import clamp


@pytest.mark.parametrize(("given", "number"), [("7", 7), ("0", 1), ("-5", 1), ("9999", 200)])
def test_a_number_is_held_to_its_range(given: str, number: int) -> None:
    assert clamp(1, 200)(given) == number


@pytest.mark.parametrize("given", ["", "x", "1.5", "²", "9" * 5000])
def test_what_is_no_whole_number_is_refused_and_shown(given: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        clamp(0, 10)(given)
    assert caught.value.message() == f"must be a whole number, not {given[:40]!r}"
