"""Turn: everything between accepting one user message and the final answer, and its state changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

OnBusy = Literal["queue", "reject", "replace"]
UsageSource = Literal["provider", "counted", "estimated"]


class TurnState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL = frozenset({TurnState.COMPLETED, TurnState.FAILED, TurnState.CANCELLED, TurnState.INTERRUPTED})
OPEN = frozenset({TurnState.RUNNING, TurnState.WAITING})


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one turn; `source` says who counted: the provider, we exactly, or we by estimate."""

    prompt_tokens: int
    completion_tokens: int
    source: UsageSource

    def to_json(self) -> dict[str, int | str]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as it is stored. Times are milliseconds since the epoch.

    `usage`, `timings`, `error` and `memory` are wire objects.
    """

    turn_id: str
    session_id: str
    state: TurnState
    reason: str | None
    background: bool
    text: str
    """The user's message while the turn is queued; empty once the message is in the history."""
    user_message_id: str
    message_id: str
    first_seq: int
    last_seq: int | None
    created_ms: int
    started_ms: int | None
    finished_ms: int | None
    usage: dict[str, object] | None = None
    timings: dict[str, object] | None = None
    error: dict[str, object] | None = None
    instructions: str | None = None
    memory: dict[str, object] | None = None
