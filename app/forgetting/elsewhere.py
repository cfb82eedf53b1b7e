"""Elsewhere: the other servers of a service, which keep copies of their own of what is to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.domain.forgetting import DeletionRequest


@dataclass(frozen=True, slots=True)
class Gone:
    """What a request has removed so far: ids of memories and sessions that turns may have recalled (`sources`), and
    sessions whose rows were changed (`redacted`)."""

    sources: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()


class OtherServers(Protocol):
    async def forget(self, request: DeletionRequest, gone: Gone) -> None:
        """Return when every other server has done `Forgettings.forget_here`. Raises Unavailable: not all have."""
        ...
