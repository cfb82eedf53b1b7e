"""SessionObserver: what other rooms do when a session is over or its rows are deleted."""

from __future__ import annotations

from typing import Protocol

from app.events.log import SessionLog
from app.storage.memories import Removed


class SessionObserver(Protocol):
    """One for the whole process, passed in by app/house.py."""

    def session_over(self, session_log: SessionLog) -> None:
        """A session has ended or expired."""
        ...

    async def before_erasure(self, session_log: SessionLog, *, forget_all: bool) -> None:
        """A session is about to be erased; with `forget_all` everything that came from it. Raises Unavailable."""
        ...

    def session_erased(self, removed: Removed) -> None:
        """The rows of a session were deleted; `removed` are the memories among them."""
        ...
