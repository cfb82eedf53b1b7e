"""Deletion requests and their receipts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

FORGOTTEN = "[forgotten]"
"""Replaces a text that was forgotten, where the row that held it stays."""


@dataclass(frozen=True, slots=True)
class DeletionRequest:
    """A deletion request. Fields that are set are combined with AND; at least one of the last four must be set.

    The target is a phrase, a memory, a session, or a user with all their data: the first of these that is set.
    `user_id` and `session_id` narrow the search for a phrase or a memory. Sessions created after `created_ms` are kept.
    """

    request_id: str
    agent: str
    principal: str
    created_ms: int
    user_id: str | None = None
    session_id: str | None = None
    memory_id: str | None = None
    phrase: str | None = None

    @property
    def is_of_user(self) -> bool:
        """Whether the target is a user with all their data."""
        return self.phrase is None and self.memory_id is None and self.session_id is None


@dataclass(slots=True)
class ForgetReceipt:
    """What matched the request, what was removed, by kind, and what was found afterwards: rows, and places in files.

    `knows_user`: whether anything was stored of the user that the request names; `None` if it names none.

    `problem`: a sentence for people that says why files may still hold removed data; clearing them is retried.
    """

    found: Counter[str] = field(default_factory=Counter)
    knows_user: bool | None = None
    removed: Counter[str] = field(default_factory=Counter)
    rows_found: int = 0
    found_in: dict[str, int] = field(default_factory=dict)
    problem: str | None = None

    @property
    def found_afterwards(self) -> int:
        return self.rows_found + sum(self.found_in.values())
