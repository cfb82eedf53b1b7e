"""Cursors as clients send them: good ones mean something, all others nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.conversation.cursor import Cursor, parse_cursor
from app.events.log import SessionLog
from app.storage.engine.database import Database
from tests.fixtures.clock import Clock
from tests.fixtures.rows import a_session

LOG = SessionLog(a_session(last_seq=50, reserved_seq=100), Database(None), ring_bytes=100, clock_ms=Clock())


@pytest.mark.parametrize(
    ("given", "cursor"),
    [
        ("0", Cursor(0)),
        ("41", Cursor(41)),
        (" 41 ", Cursor(41)),
        ("0041", Cursor(41)),
        ("50", Cursor(50)),
        ("100", Cursor(100)),
        ("41:12", Cursor(40, (41, 12))),
        ("41:0", Cursor(40, (41, 0))),
        ("0:5", Cursor(0)),
    ],
)
def test_a_cursor_is_a_number_or_a_number_and_characters(given: str, cursor: object) -> None:
    assert parse_cursor(given, LOG) == cursor


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "x",
        "-1",
        "+1",
        "1.5",
        "41:",
        ":12",
        "41:x",
        "41:1:2",
        "101",
        "9" * 19,
        "9" * 400,
        "41:" + "9" * 10,
        "²",
        "٣",
        "41:²",
        "1_0",
        "0x10",
        "\x00",
        "41\n42",
    ],
)
def test_garbage_and_numbers_never_given_out_count_as_absent(given: str | None) -> None:
    assert parse_cursor(given, LOG) is None


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_nothing_a_header_can_hold_breaks_it(given: str) -> None:
    parse_cursor(given, LOG)
