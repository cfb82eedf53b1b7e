"""Durations and sizes: what people write, and back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.units import format_duration, format_size, parse_duration, parse_size

CENTURY = timedelta(days=36_500)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("10m", 600),
        ("24h", 86_400),
        ("7d", 604_800),
        ("500ms", 0.5),
        ("1h30m", 5_400),
        ("1.5h", 5_400),
    ],
)
def test_a_duration_is_a_number_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("number", [90, 90.0, "90"])
def test_a_plain_number_is_seconds(number: object) -> None:
    assert parse_duration(number) == timedelta(seconds=90)


@pytest.mark.parametrize(
    "value", ["", "soon", "10x", "5 minutes", "30m1h", "1h1h", "-5s", "10:30", True, None, [], "٣s"]
)
def test_what_is_not_a_duration_is_refused_without_quoting_it(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration: write 30s"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["40000d", 10**15, float("1e300")])
def test_a_duration_above_a_hundred_years_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="hundred years"):
        parse_duration(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1])
def test_a_number_that_measures_nothing_is_no_duration(value: float) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)


@given(st.timedeltas(min_value=timedelta(0), max_value=CENTURY))
def test_a_formatted_duration_reads_as_the_same_duration(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "size"),
    [("1MiB", 1 << 20), ("512KiB", 512 << 10), ("1MB", 10**6), ("1.5 kb", 1500), ("7", 7), (7, 7)],
)
def test_a_size_is_a_number_of_bytes_or_has_a_unit(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("value", ["", "lots", "1.5", "1.0001KB", "-1KB", "1 M", True, None, float("nan")])
def test_what_is_not_a_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size: write 1MiB"):
        parse_size(value)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_a_formatted_size_reads_as_the_same_size(size: int) -> None:
    assert parse_size(format_size(size)) == size
