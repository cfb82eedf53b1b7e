"""The error tree of the client. `reason` is the stable word to test for; the message is a sentence for people.

HectorError
├── Unreachable             unreachable: no server, no answer, or a connection that broke and stayed broken
└── Refused                 what the server said; a reason that this version does not know is a plain Refused
    ├── Unexpected          unexpected: an answer that is not a Hector server's, such as a proxy's page
    ├── InvalidRequest      invalid_request, invalid_json, invalid_http, invalid_header, request_timeout,
    │                       method_not_allowed
    ├── Unauthenticated     unauthenticated
    ├── Forbidden           forbidden_origin, forbidden_host, forbidden_ticket, forbidden_user, missing_scope
    ├── NotFound            agent_not_found, session_not_found, turn_not_found, call_not_found, result_not_found,
    │                       memory_not_found, store_not_found, key_not_found, not_found
    ├── Conflict            session_busy, idempotency_conflict, session_exists, turn_cancelled, already_decided,
    │                       memory_off, import_stopped, key_exists, invalid_config
    ├── SessionError        session_ended, session_expired, session_terminated
    ├── CursorExpired       cursor_expired
    ├── ApprovalExpired     approval_expired
    ├── TooLarge            too_large, headers_too_large, url_too_long
    ├── QuotaExceeded       queue_full, rate_limited
    ├── ModelFailed         llm_error, llm_timeout
    ├── Unavailable         storage_unavailable, shutting_down, overloaded, issuer_unavailable, moved
    └── Internal            internal
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class HectorError(Exception):
    """Base of all errors of this package, but for wrong use of it (`ValueError`, `RuntimeError`).

    `body` is the API's error object: `{"error": {"reason", "message", …}}`.
    """

    def __init__(self, message: str, *, reason: str, error: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.body: dict[str, Any] = {"error": dict(error or {"reason": reason, "message": message})}

    def __str__(self) -> str:
        return self.message

    @property
    def details(self) -> dict[str, Any]:
        """What the server adds to the sentence; which keys there are depends on `reason`."""
        found = self.body["error"].get("details")
        return found if isinstance(found, dict) else {}

    @property
    def request_id(self) -> str | None:
        """Names the request in the server's log."""
        found = self.body["error"].get("request_id")
        return found if isinstance(found, str) else None

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return False


class Unreachable(HectorError):
    """`problem` says in a few words what happened. The request may or may not have been carried out."""

    def __init__(self, message: str, *, problem: str) -> None:
        super().__init__(message, reason="unreachable")
        self.problem = problem

    @property
    def is_transient(self) -> bool:
        return True


class Refused(HectorError):
    """`status` is the HTTP status; `None` for the end of a turn that a stream told. `retry_after` is in seconds."""

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int | None = None,
        retry_after: float | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, error=error)
        self.status = status
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """A server that restarts, or a proxy whose server is away."""
        return self.status == 503 or (self.status in (502, 504) and isinstance(self, Unexpected))


class Unexpected(Refused):
    """The answer did not come from a Hector server."""


class InvalidRequest(Refused):
    """The request is malformed; `details["problems"]` lists the wrong fields."""


class Unauthenticated(Refused):
    """No key, or a wrong one."""


class Forbidden(Refused):
    """The server does not answer to this origin or host name."""


class NotFound(Refused):
    """Unknown, or another caller's."""


class Conflict(Refused):
    """The state of the session or agent does not allow it."""


class SessionError(Refused):
    """The session takes no more messages; a terminated one is erased, its stop receipt is in `details`."""


class CursorExpired(Refused):
    """The text after this cursor is no longer kept word for word."""


class ApprovalExpired(Refused):
    """Nobody decided in time: the call counts as refused."""


class TooLarge(Refused):
    """Larger than the server accepts."""


class QuotaExceeded(Refused):
    """Too many requests, messages or sessions; see `retry_after`."""


class ModelFailed(Refused):
    """The model refused, failed or was too slow; the partial text is in `details["partial"]`."""


class Unavailable(Refused):
    """The server cannot write, or is shutting down."""


class Internal(Refused):
    """A fault of the server; its log has more under `request_id`."""


REASONS: dict[str, type[Refused]] = {
    "unexpected": Unexpected,
    "invalid_request": InvalidRequest,
    "invalid_json": InvalidRequest,
    "invalid_http": InvalidRequest,
    "invalid_header": InvalidRequest,
    "request_timeout": InvalidRequest,
    "method_not_allowed": InvalidRequest,
    "unauthenticated": Unauthenticated,
    "forbidden_origin": Forbidden,
    "forbidden_host": Forbidden,
    "forbidden_ticket": Forbidden,
    "forbidden_user": Forbidden,
    "missing_scope": Forbidden,
    "agent_not_found": NotFound,
    "session_not_found": NotFound,
    "turn_not_found": NotFound,
    "call_not_found": NotFound,
    "result_not_found": NotFound,
    "memory_not_found": NotFound,
    "store_not_found": NotFound,
    "key_not_found": NotFound,
    "not_found": NotFound,
    "session_busy": Conflict,
    "idempotency_conflict": Conflict,
    "session_exists": Conflict,
    "turn_cancelled": Conflict,
    "already_decided": Conflict,
    "memory_off": Conflict,
    "import_stopped": Conflict,
    "key_exists": Conflict,
    "invalid_config": Conflict,
    "session_ended": SessionError,
    "session_expired": SessionError,
    "session_terminated": SessionError,
    "cursor_expired": CursorExpired,
    "approval_expired": ApprovalExpired,
    "too_large": TooLarge,
    "headers_too_large": TooLarge,
    "url_too_long": TooLarge,
    "queue_full": QuotaExceeded,
    "rate_limited": QuotaExceeded,
    "llm_error": ModelFailed,
    "llm_timeout": ModelFailed,
    "storage_unavailable": Unavailable,
    "shutting_down": Unavailable,
    "overloaded": Unavailable,
    "issuer_unavailable": Unavailable,
    "moved": Unavailable,
    "internal": Internal,
}
"""The class of each reason."""


def refusal(status: int, body: object, *, retry_after: str | None = None) -> Refused:
    """The error that an HTTP answer stands for; `body` is its parsed JSON, or anything else."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        message = f"The server answered {status}, but not as a Hector server does."
        return Unexpected(message, reason="unexpected", status=status, retry_after=_seconds(retry_after))
    reason, message = str(error.get("reason", "")), str(error.get("message", ""))
    return REASONS.get(reason, Refused)(
        message, reason=reason, status=status, retry_after=_seconds(retry_after), error=error
    )


def turn_error(reason: str, message: str, details: Mapping[str, Any]) -> Refused:
    """The error of a turn whose end a stream told; a waiting POST would have raised the same."""
    error = {"reason": reason, "message": message, "details": dict(details)}
    return REASONS.get(reason, Refused)(message, reason=reason, error=error)


def _seconds(header: str | None) -> float | None:
    try:
        return float(header) if header is not None else None
    except ValueError:  # a date, which our servers do not send
        return None
