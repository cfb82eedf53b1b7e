"""Memory: a text that an agent remembers, where it came from, and who may see it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from app.domain.label import Secrecy, Trust

MemoryKind = Literal["message", "summary", "note"]
"""A message word for word, a summary of a session, or a note that a client added."""


class Scope(StrEnum):
    """Who may recall a memory: the values of `memory.longterm.storage_scope`."""

    SESSION = "session"
    """The session only."""
    CONVERSATIONAL = "conversational"
    """All sessions of the user with the agent."""
    ALL = "all"
    """Every user of the agent."""
    SUMMARIES_ONLY = "summaries_only"
    """Like `conversational`, but no message is stored word for word."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a memory: the session it came from, and the agent, principal and user of that session."""

    agent: str
    principal: str
    user_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory as it is stored. Times are milliseconds since the epoch.

    `audience` says who sees it (app/memory/scope.py makes and checks it), `kind` what it is.
    `place` is its position in the session, counted from 0 without gaps, so that neighbours are found;
    `row` its number in the store, a new one with each version, 0 before it is stored.
    """

    memory_id: str
    owner: Owner
    audience: str
    kind: MemoryKind
    role: str
    speaker: str
    text: str
    created_ms: int
    turn_id: str | None = None
    message_id: str | None = None
    place: int = 0
    version: int = 1
    is_pinned: bool = False
    row: int = 0
    trust: Trust = "user"
    secrecy: Secrecy = "private"
