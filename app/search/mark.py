"""Mark: up to which row a table was read, when new rows have greater numbers than old ones, or nearly so."""

from __future__ import annotations

from time import monotonic

AGAIN_SECONDS = 30.0
"""Where several servers write, a row may be seen this long after another one that has a greater number."""
NEAR = 2_000
"""Rows that the servers begin to write while one transaction lasts, as long as nothing better is known."""


class Mark:
    """`last`: the greatest row that was read.

    Where several servers write, a number is given before the row is committed. So what is younger than
    `again_seconds` to twice as long is read again each time (`since`); a reader leaves out what it has.
    """

    __slots__ = ("_again_seconds", "_noted", "_settled", "_younger", "last")

    def __init__(self, again_seconds: float = 0.0) -> None:
        """`again_seconds`: 0 where one server alone writes, in the order of the rows."""
        self.last = 0
        self._again_seconds = again_seconds
        self._settled = 0
        self._younger = 0
        self._noted = 0.0

    def since(self) -> int:
        """The row beyond which to read."""
        if not self._again_seconds:
            return self.last
        if (now := monotonic()) - self._noted >= self._again_seconds:
            self._settled, self._younger, self._noted = self._younger, self.last, now
        return self._settled

    def reach(self, row: int) -> None:
        """Rows were read, the last of which is this."""
        if not self.last:
            self._settled, self._younger, self._noted = max(row - NEAR, 0), row, monotonic()
        self.last = max(self.last, row)
