"""Identifiers: a word for the kind, then 19 characters that sort by time of creation."""

from __future__ import annotations

import re
from typing import Protocol

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
GENERATED_ID = re.compile(r"[a-z]+_[0-9a-v]{22}")
"""What `format_id` makes."""
CHOSEN_SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class NewId(Protocol):
    """Makes a fresh identifier: `new_id("turn")` → `turn_…`."""

    def __call__(self, kind: str) -> str: ...


def format_id(kind: str, *, milliseconds: int, randomness: int) -> str:
    """`kind_` + 9 characters of time + 13 of randomness (65 bits), base 32 with digits first.

    Later milliseconds sort later; within one millisecond the order is random.
    """
    value = (milliseconds & (1 << 45) - 1) << 65 | randomness & (1 << 65) - 1
    return f"{kind}_" + "".join([_PAIRS[value >> shift & 1023] for shift in range(100, -10, -10)])
