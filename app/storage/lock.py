"""One server on its data, whatever holds the door: what a lock is, and what the second server is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Lock(Protocol):
    """Held while a server works on its data."""

    on_taken: Callable[[], None] | None
    """Called on the event loop when another server holds the data that was ours."""

    @property
    def is_held(self) -> bool: ...

    async def acquire(self, *, url: str, wait_seconds: float) -> None: ...

    def release(self) -> None: ...


def refusal(holder: dict[str, object] | None, advice: str) -> str:
    """What the second server says, whatever the database."""
    holder = holder or {}
    return (
        f"Another server (process {holder.get('pid', '?')}, {holder.get('url', '?')}) is at work on this data: {advice}"
    )
