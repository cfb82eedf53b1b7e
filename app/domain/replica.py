"""ReplicaState: what a server says of itself to those who look after the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Working:
    """What a server has at the moment. `sessions`: warm ones that it works on; `mirrors`: others' that it shows."""

    version: str
    sessions: int
    turns: int
    readers: int
    mirrors: int
    takeovers: int
    """Sessions with open turns whose owner died or stopped, and that went on here."""
    tail: str | None = None
    """`up` or `degraded`; `None` where servers follow the database."""


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One of the servers of a service. `lease_seconds`: left, by the database; `None` where one server is alone.

    `is_first`: it does what only one is to do. `working` is `None` if it did not answer in time.
    """

    replica_id: str
    name: str
    address: str
    started_ms: int
    lease_seconds: float | None
    is_first: bool
    is_here: bool
    working: Working | None
