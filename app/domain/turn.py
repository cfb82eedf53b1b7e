"""Turn: everything between accepting one user message and the final answer, and its state changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from app.domain.errors import Conflict, Internal, ModelFailed, SessionOver, Unavailable

OnBusy = Literal["queue", "reject", "replace", "steer"]
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
    """Tokens of one turn. `source`: counted by the provider, counted exactly by the server, or estimated by it."""

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
class Timings:
    """Milliseconds since the message was accepted; `None` for what did not happen."""

    queued_ms: float | None
    first_token_ms: float | None
    total_ms: float | None

    def to_json(self) -> dict[str, float | None]:
        return {"queued_ms": self.queued_ms, "first_token_ms": self.first_token_ms, "total_ms": self.total_ms}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn failed: a stable word and a sentence; `detail` and `provider_status` come from the provider."""

    reason: str
    message: str
    detail: str | None = None
    provider_status: int | None = None

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {"reason": self.reason, "message": self.message}
        if self.detail:
            found["detail"] = self.detail
        if self.provider_status is not None:
            found["provider_status"] = self.provider_status
        return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended. `message_id` is the answer; `None` if the model said nothing."""

    turn_id: str
    state: TurnState
    reason: str | None
    text: str = ""
    message_id: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    failure: Failure | None = None
    finished_ms: int | None = None
    finish_reason: str | None = None
    """Why the model ended its answer, in its own word: `stop`, `length`, `content_filter`, …; `None`: it gave none."""

    def raise_for_end(self, session_id: str) -> None:
        """Raise the error for any end but completion; its details contain the partial text.

        Raises:
            SessionOver, Conflict (`turn_cancelled`), Unavailable, ModelFailed, Internal.
        """
        if self.state is TurnState.COMPLETED:
            return
        details: dict[str, object] = {
            "turn_id": self.turn_id,
            "session_id": session_id,
            "message_id": self.message_id,
            "partial": self.text,
        }
        if self.state is TurnState.CANCELLED:
            if self.reason == "session_terminated":
                raise SessionOver(
                    "The session was terminated while this turn ran.", reason="session_terminated", details=details
                )
            details["cancelled_by"] = self.reason
            raise Conflict("The turn was cancelled.", reason="turn_cancelled", details=details)
        if self.state is TurnState.INTERRUPTED:
            sentence = "The server stopped while this turn ran; its text so far is kept."
            raise Unavailable(sentence, reason="shutting_down", details=details)
        failure = self.failure or Failure("internal", "The turn failed.")
        details |= {name: value for name, value in failure.to_json().items() if name not in ("message", "reason")}
        if self.reason == "storage_unavailable":
            raise Unavailable(failure.message, details=details)
        if self.reason in ("llm_error", "llm_timeout"):
            raise ModelFailed(failure.message, reason=self.reason, details=details)
        raise Internal(failure.message, details=details)


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as it is stored. Times are milliseconds since the epoch. `memory` is a wire object."""

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
    usage: Usage | None = None
    timings: Timings | None = None
    failure: Failure | None = None
    instructions: str | None = None
    memory: dict[str, object] | None = None
    finish_reason: str | None = None
    waiting_for: str | None = None
    """What a waiting turn waits for: `approval`, `result`, `input`."""
    response_format: bytes | None = None
    """The form that its request asked for, a JSON object; `None`: it said nothing of it."""
    agent_version: str | None = None
    """The version of its agent when it began; `None` before."""
