"""StoredSize: how much text the sessions of a user have, so that copies and imports cannot fill the disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from app.domain.errors import QuotaExceeded
from app.domain.principal import Principal
from app.sessions.draft import Draft
from app.storage import messages
from app.storage.engine.database import Database

FRESH_MS = 600_000
"""How long a sum is added to before the database is asked again: it reads every text of the user."""
MAX_USERS = 10_000


class StoredSize:
    """Bytes of text by principal and user. Messages of turns are not looked at: a model wrote their answers."""

    def __init__(self, database: Database, *, most: int, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._most = most
        self._clock_ms = clock_ms
        self._known: dict[tuple[str, str], tuple[int, int]] = {}
        """By principal and user: the sum, and when the database was asked for it."""

    async def add(self, principal: Principal, draft: Draft) -> None:
        """Count what a new session begins with. Called for one session of a user at a time.

        Raises:
            QuotaExceeded: with it the user would have more than allowed.
        """
        read, owner = self._database.read, (principal.id, principal.effective_user)
        size = sum([len(seed.content.encode("utf-8", "replace")) for seed in draft.seeds])
        if draft.copy is not None:
            size += await read(partial(messages.size, session_id=draft.copy.source, upto=draft.copy.upto))
        stored, asked_ms = self._known.get(owner, (0, 0))
        now = self._clock_ms()
        if now - asked_ms > FRESH_MS or stored + size > self._most:  # something may have been deleted
            stored = await read(partial(messages.size_of_user, principal=owner[0], user_id=owner[1]))
            asked_ms = now
        if stored + size > self._most:
            raise QuotaExceeded(
                f"User {owner[1]!r} has {stored} bytes of messages, and these are {size} more; the most is {self._most}"
                " (sessions.max_stored). Delete sessions first."
            )
        if len(self._known) >= MAX_USERS:
            self._known.clear()
        self._known[owner] = (stored + size, asked_ms)
