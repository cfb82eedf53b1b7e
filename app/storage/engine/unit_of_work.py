"""UnitOfWork: statements that are committed together. Handed to the writer; owns no connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Executable


class WriteConflict(Exception):
    """A condition of the unit did not hold (the session is gone, a turn is open): nothing of it was written."""


class WriteFailed(Exception):
    """The database could not write: disk full, read-only, gone. Nothing of the unit was written."""


class Unwritable(WriteFailed):
    """The unit itself is at fault (a number or a text that the database does not take): writing it again is no help."""


@dataclass(slots=True)
class UnitOfWork:
    """An ordered list of (statement, parameters, rows that must change or `None`).

    `session_id` names the session it touches: the writer may reorder statements of different
    sessions inside a transaction, never those of one.
    """

    session_id: str
    steps: list[tuple[Executable, dict[str, Any], int | None]] = field(default_factory=list)
    calls: list[Callable[[Connection], object]] = field(default_factory=list)
    """Rare work in bulk, or work that reads before it writes: run after the steps, in the same transaction."""

    def add(self, statement: Executable, parameters: dict[str, Any], *, expect: int | None = None) -> None:
        """`expect`: how many rows must change, else the whole unit is refused with `WriteConflict`."""
        self.steps.append((statement, parameters, expect))
