"""Cursors of lists: what was given out is taken back, anything else is refused in words."""

from __future__ import annotations

import base64
from typing import Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.domain.ids import CHOSEN_SESSION_ID
from app.doors.list_cursor import read_cursor, write_cursor

ORDERS = st.sampled_from(["creation", "activity"])


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


@given(ORDERS, st.integers(0, 2**62), st.from_regex(CHOSEN_SESSION_ID, fullmatch=True))
def test_a_cursor_leads_back_to_where_its_page_ended(
    order: Literal["creation", "activity"], time_ms: int, session_id: str
) -> None:
    assert read_cursor(write_cursor(order, time_ms, session_id), order) == (time_ms, session_id)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "====",
        "ü",
        "bm90IGpzb24",
        encoded({"a": 1}),
        encoded(["creation", 5]),
        encoded(["activity", 5, "s1"]),
        encoded(["creation", "5", "s1"]),
        encoded(["creation", 5, 7]),
        encoded(["creation", 2**63, "s1"]),
        encoded(["creation", 1.5, "s1"]),
        encoded(["creation", -1, "s1"]),
        encoded(["creation", 5, "a\0b"]),
    ],
)
def test_a_cursor_nobody_gave_out_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        read_cursor(cursor, "creation")


@given(st.text(max_size=40))
def test_whatever_it_is_it_breaks_nothing(cursor: str) -> None:
    try:
        read_cursor(cursor, "creation")
    except InvalidRequest:
        return


def test_no_cursor_is_the_first_page() -> None:
    assert read_cursor(None, "creation") is None
