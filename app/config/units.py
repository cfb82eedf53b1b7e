"""Durations and sizes as people write them: `1h30m`, `500ms`, `1MiB`; and back.

A plain number is seconds or bytes. Units descend and each stands once: `1h30m`, not `30m1h`.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

_DURATION = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+(?:\.[0-9]+)?){unit})?" for unit in ("d", "h", "m", "s", "ms")))
_MICROSECONDS = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|KB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_BYTES = {
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")

EntryName = Annotated[str, AfterValidator(lambda name: unicodedata.normalize("NFC", name))]
"""Name of an entry of another section, in the form that keys of the file have."""

# A date plus a hundred years is still a date; a longer wait is a typing error.
_LONGEST = timedelta(days=36_500)

_NO_DURATION = "is not a duration: write 30s, 10m, 24h, 7d, 500ms, 1h30m or a number of seconds"
_NO_SIZE = "is not a size: write 1MiB, 512KiB, 1MB or a whole number of bytes"


def parse_duration(value: object) -> timedelta:
    """Text with units, a number of seconds, or a timedelta.

    Raises:
        ValueError: no such form, negative, or above a hundred years. The text never quotes the value.
    """
    if isinstance(value, timedelta):
        duration = value
    else:
        microseconds = _microseconds(_text(value))
        if microseconds is None:
            raise ValueError(_NO_DURATION)
        if microseconds > _LONGEST / timedelta(microseconds=1):
            raise ValueError("is longer than a hundred years")
        duration = timedelta(microseconds=int(microseconds))
    if not timedelta(0) <= duration <= _LONGEST:
        raise ValueError("must lie between zero and a hundred years")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads as the same duration: `1h30m`, `500ms`, `0s`."""
    rest = duration // timedelta(microseconds=1)
    text = ""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _MICROSECONDS[unit])
        text += f"{count}{unit}" if count else ""
    if rest:
        text += f"{Decimal(rest) / 1000:f}ms"
    return text or "0s"


def parse_size(value: object) -> int:
    """Text with a unit, or a whole number of bytes. `KB` is 1000, `KiB` 1024.

    Raises:
        ValueError: no such form, or not whole bytes. The text never quotes the value.
    """
    match = _SIZE.fullmatch(_text(value))
    if match is None:
        raise ValueError(_NO_SIZE)
    size = Decimal(match[1]) * _BYTES[(match[2] or "B").lower()]
    if size != size.to_integral_value():
        raise ValueError(_NO_SIZE)
    return int(size)


def format_size(size: int) -> str:
    """The shortest exact text: `1MiB`, `512KiB`, `1000`."""
    for unit in ("GiB", "MiB", "KiB"):
        count, rest = divmod(size, _BYTES[unit.lower()])
        if count and not rest:
            return f"{count}{unit}"
    return str(size)


def _text(value: object) -> str:
    # bool is an int to Python, but `timeout: true` is not one second.
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{Decimal(str(value)):f}"
    return value.strip() if isinstance(value, str) else ""


def _microseconds(text: str) -> Decimal | None:
    if _NUMBER.fullmatch(text):
        return Decimal(text) * _MICROSECONDS["s"]
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    parts = [Decimal(count) * _MICROSECONDS[unit] for unit, count in match.groupdict().items() if count]
    return sum(parts, Decimal(0))


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")]
Wait = Annotated[Duration, Field(gt=timedelta(0))]
Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
