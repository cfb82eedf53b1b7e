"""The error tree. `reason` is the stable word clients test for; the sentence says what to do.

HectorError
├── InvalidRequest        invalid_request, invalid_json, invalid_http, invalid_header, request_timeout
├── Unauthenticated       unauthenticated
├── Forbidden             forbidden_origin, forbidden_host, forbidden_ticket, forbidden_user, missing_scope
├── NotFound              agent_not_found, session_not_found, turn_not_found, memory_not_found, store_not_found
├── NotFound              call_not_found, result_not_found, key_not_found
├── Conflict              session_busy, idempotency_conflict, session_exists, turn_cancelled, memory_off, import_stopped
├── Conflict              already_decided, key_exists, invalid_config
├── SessionOver           session_ended, session_expired, session_terminated
├── CursorExpired         cursor_expired
├── ApprovalExpired       approval_expired
├── TooLarge              too_large, headers_too_large, url_too_long
├── QuotaExceeded         queue_full, rate_limited
├── ModelFailed           llm_error, llm_timeout
├── Unavailable           storage_unavailable, shutting_down, overloaded, issuer_unavailable, moved
└── Internal              internal
"""

from __future__ import annotations

from dataclasses import dataclass


class HectorError(Exception):
    """Base of all errors that clients are shown. `details` is sent unchanged."""

    reason = "internal"

    def __init__(self, message: str, *, reason: str | None = None, details: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}
        if reason is not None:
            self.reason = reason


class InvalidRequest(HectorError):
    reason = "invalid_request"


class Unauthenticated(HectorError):
    reason = "unauthenticated"


class Forbidden(HectorError):
    reason = "forbidden_origin"


class NotFound(HectorError):
    reason = "not_found"


class Conflict(HectorError):
    reason = "conflict"


class SessionOver(HectorError):
    reason = "session_ended"


class CursorExpired(HectorError):
    reason = "cursor_expired"


class ApprovalExpired(HectorError):
    reason = "approval_expired"


class TooLarge(HectorError):
    reason = "too_large"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit: `left` of `most`, which is whole again after `reset_seconds`.

    `window_seconds`: in what time `most` may be used; `None`: at once.
    """

    name: str
    most: int
    window_seconds: int | None
    left: int
    reset_seconds: int


class QuotaExceeded(HectorError):
    """`retry_after_seconds` is a hint for the client. `allowance`: of the limit that refused it."""

    reason = "rate_limited"
    retry_after_seconds = 1
    allowance: Allowance | None = None


class ModelFailed(HectorError):
    reason = "llm_error"


class Unavailable(HectorError):
    """`retry_after_seconds` is a hint for the client."""

    reason = "storage_unavailable"
    retry_after_seconds = 1


class Internal(HectorError):
    reason = "internal"


def agent_not_found(name: str) -> NotFound:
    return NotFound(f"There is no agent {name!r}; GET /agents lists them.", reason="agent_not_found")


def session_not_found(session_id: str) -> NotFound:
    return NotFound(f"There is no session {session_id!r} here.", reason="session_not_found")


def turn_not_found(turn_id: str) -> NotFound:
    return NotFound(f"There is no turn {turn_id!r} in this session.", reason="turn_not_found")


def memory_not_found(memory_id: str) -> NotFound:
    return NotFound(f"There is no memory {memory_id!r} here.", reason="memory_not_found")


def store_not_found(name: str) -> NotFound:
    sentence = f"There is no document store {name!r}; GET /document_stores lists them."
    return NotFound(sentence, reason="store_not_found")


def data_in_use(holder: dict[str, object] | None, advice: str) -> Unavailable:
    """Refuse to start a second server on the same data; `holder` has the `pid` and `url` of the first."""
    holder = holder or {}
    server = f"process {holder.get('pid', '?')}, {holder.get('url', '?')}"
    return Unavailable(f"Another server ({server}) is at work on this data: {advice}")


def overloaded(sentence: str) -> Unavailable:
    """The refusal of work that others would have to wait for; `sentence` without its advice."""
    error = Unavailable(f"{sentence}; try again in a few seconds.", reason="overloaded")
    error.retry_after_seconds = 5
    return error


def session_over(status: str, session_id: str, details: dict[str, object] | None = None) -> SessionOver:
    """The error for a session with this status (ended, expired or terminated)."""
    sentence = {
        "ended": f"Session {session_id!r} has ended and takes no more messages; start a new one.",
        "expired": f"Session {session_id!r} has expired; start a new one.",
        "terminated": f"Session {session_id!r} was terminated; its ID cannot be used again. Start a new session.",
    }[status]
    return SessionOver(sentence, reason=f"session_{status}", details=details)
