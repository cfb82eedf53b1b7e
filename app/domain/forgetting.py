"""Forgetting: what somebody wants forgotten, and what became of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

FORGOTTEN = "[forgotten]"
"""Stands where something was that somebody wanted forgotten."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Whose memories of which agent; of those all that fits every field that is not `None`, at least one.

    Either a phrase, or a memory, or a session, or a user with everything of theirs; user and session narrow the first
    two. Sessions made after `created_ms` are not meant.
    """

    wish_id: str
    agent: str
    principal: str
    created_ms: int
    user_id: str | None = None
    session_id: str | None = None
    memory_id: str | None = None
    phrase: str | None = None

    @property
    def is_of_user(self) -> bool:
        """Whether it is a user, with everything of theirs."""
        return self.phrase is None and self.memory_id is None and self.session_id is None


@dataclass(slots=True)
class ForgetReceipt:
    """What was removed, by kind, and what was found afterwards: rows, and places in files.

    `problem`: why something may be left in files for now, for people; it is tried again.
    """

    removed: Counter[str] = field(default_factory=Counter)
    rows_found: int = 0
    found_in: dict[str, int] = field(default_factory=dict)
    problem: str | None = None

    @property
    def found_afterwards(self) -> int:
        return self.rows_found + sum(self.found_in.values())
