"""Outbox: what a log calls when something happened that programs elsewhere are to be told of."""

from __future__ import annotations

from typing import Protocol

from app.domain.session import Session
from app.events.run import Run
from app.storage.engine.unit_of_work import UnitOfWork


class Outbox(Protocol):
    """One for the process; a log has none where no address is to be told of anything."""

    def add(self, unit: UnitOfWork, session: Session, run: Run) -> bool:
        """Have the unit also store who is to be told of the fact `run`; whether anybody is."""
        ...

    def drop(self, unit: UnitOfWork) -> None:
        """Have the unit also delete what is to be told of its session."""
        ...

    def interrupt(self, session_id: str) -> None:
        """The session is about to be erased: cut what is being told of it. It is told again, without its texts."""
        ...

    def wake(self) -> None:
        """What `add` added is committed."""
        ...
