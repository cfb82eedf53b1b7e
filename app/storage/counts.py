"""Counts: numbers of tokens as rows have them. Earlier releases stored whatever a provider sent."""

from __future__ import annotations

from sqlalchemy import Column, ColumnElement, case

MOST_TOKENS = 2**48
"""No session and no day of a user has more; sums of some thousand such numbers stay within 64 bits."""


def read_count(stored: object) -> int:
    """A number of tokens within 0 and `MOST_TOKENS`, whatever is stored."""
    if not isinstance(stored, int | float) or not stored > 0:  # not greater: not a number, too
        return 0
    return int(min(stored, MOST_TOKENS))


def credible(column: Column[int]) -> ColumnElement[int]:
    """The column, or 0 where it has no credible number: a sum with such a number would overflow."""
    return case((column.between(0, MOST_TOKENS), column), else_=0)
