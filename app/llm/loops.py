"""Sees that a small model says the same over and over."""

from __future__ import annotations

from collections.abc import Sequence

from app.llm.base import Delta, TextDelta

LONGEST_PERIOD = 250
"""Of what is repeated, in bytes: about two sentences."""

_REPEATS = 4
_SHORTEST_LOOP = 200
"""Rules and indentation repeat one character as well, but not for so long."""

_PROBE = 12
_CHECK_EVERY = 64


class LoopWatch:
    """Is fed with an answer and says when it has become a loop: the last 200 bytes and the last four rounds alike."""

    __slots__ = ("_fresh", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._fresh = 0

    def sees(self, deltas: Sequence[Delta]) -> bool:
        text = b"".join([chunk for delta in deltas if type(delta) is TextDelta for chunk in delta.chunks])
        self._fresh += len(text)
        self._tail = (self._tail + text)[-_REPEATS * LONGEST_PERIOD :]
        if self._fresh < _CHECK_EVERY:
            return False
        self._fresh = 0
        return _ends_in_loop(self._tail)


def _ends_in_loop(tail: bytes) -> bool:
    before = tail.rfind(tail[-_PROBE:], 0, -1)
    if before < 0:
        return False
    period = len(tail) - _PROBE - before
    length = max(_SHORTEST_LOOP, _REPEATS * period)
    return length <= len(tail) and tail[-length:-period] == tail[-(length - period) :]
