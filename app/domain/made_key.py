"""MadeKey: a key that was made at run time, as it is stored: the hash of its secret, never the secret."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MadeKey:
    """`name` is the principal; several keys may have one name. Times are milliseconds since the epoch."""

    key_id: str
    name: str
    hash: bytes
    scopes: tuple[str, ...]
    agents: tuple[str, ...] | None
    """`None`: every agent."""
    created_by: str
    created_ms: int
    expires_ms: int | None = None
    used_ms: int | None = None
    """When it was last used, to the hour."""
    revoked_ms: int | None = None

    def is_good(self, now_ms: int) -> bool:
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)
