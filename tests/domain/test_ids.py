"""Identifiers and times: what sorts, and what goes over the wire."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.clock import iso
from app.domain.ids import CHOSEN_SESSION_ID, format_id

RANDOMNESS = st.integers(0, 2**65 - 1)
MILLISECONDS = st.integers(0, 2**45 - 1)


@given(MILLISECONDS, MILLISECONDS, RANDOMNESS, RANDOMNESS)
def test_later_ids_sort_later(one: int, other: int, noise: int, more: int) -> None:
    ids = [format_id("turn", milliseconds=time, randomness=r) for time, r in ((one, noise), (other, more))]
    if one != other:
        assert (ids[0] < ids[1]) is (one < other)
    assert {len(made) for made in ids} == {len("turn_") + 22}


@given(MILLISECONDS, RANDOMNESS, RANDOMNESS)
def test_different_randomness_is_a_different_id(time: int, noise: int, more: int) -> None:
    same = format_id("s", milliseconds=time, randomness=noise) == format_id("s", milliseconds=time, randomness=more)
    assert same is (noise == more)


@given(MILLISECONDS, RANDOMNESS)
def test_our_own_ids_could_have_been_chosen(time: int, noise: int) -> None:
    assert CHOSEN_SESSION_ID.fullmatch(format_id("sess", milliseconds=time, randomness=noise))


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)))
def test_times_are_iso_8601_in_utc_with_milliseconds(moment: datetime) -> None:
    milliseconds = int(moment.replace(tzinfo=UTC).timestamp()) * 1000 + moment.microsecond // 1000
    written = iso(milliseconds)
    assert written.endswith("Z")
    assert len(written) == 24
    assert datetime.fromisoformat(written) == datetime.fromtimestamp(milliseconds / 1000, UTC).replace(
        microsecond=milliseconds % 1000 * 1000
    )


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [(0, "1970-01-01T00:00:00.000Z"), (1_795_305_599_123, "2026-11-21T23:59:59.123Z"), (None, None)],
)
def test_a_time_is_written_as_documented(milliseconds: int | None, written: str | None) -> None:
    assert iso(milliseconds) == written
