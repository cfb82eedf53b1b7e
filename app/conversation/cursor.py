"""Cursor: where a reader stands. `41` = all events up to 41; `41:12` = those before 41, and 12 characters of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.events.log import SessionLog

_CURSOR = re.compile(r"([0-9]{1,18})(?::([0-9]{1,9}))?")


@dataclass(frozen=True, slots=True)
class Cursor:
    """`after`: the last event the reader has whole. `skip`: (event, characters) of the one it has in part."""

    after: int
    skip: tuple[int, int] | None = None


def parse_cursor(given: str | None, session_log: SessionLog) -> Cursor | None:
    """Garbage, and numbers that were never given out, count as absent."""
    match = _CURSOR.fullmatch(given.strip()) if given is not None else None
    if match is None:
        return None
    seq, offset = int(match[1]), match[2]
    if seq > max(session_log.last_seq, session_log.reserved_seq):
        return None
    if offset and seq > 0:
        return Cursor(seq - 1, (seq, int(offset)))
    return Cursor(seq)
