"""The error table: one for all doors, from the error tree to the status of HTTP and the word of an RPC."""

from __future__ import annotations

from app.domain import errors
from app.domain.errors import HectorError

CLIENT_LEFT = 499
"""Of a request whose client left before the answer began, for logs and metrics, as nginx does. Never sent."""

# The first entry whose class fits; a reason of its own beats its class.
_BY_CLASS: tuple[tuple[type[HectorError], int, str], ...] = (
    (errors.InvalidRequest, 422, "INVALID_ARGUMENT"),
    (errors.Unauthenticated, 401, "UNAUTHENTICATED"),
    (errors.Forbidden, 403, "PERMISSION_DENIED"),
    (errors.NotFound, 404, "NOT_FOUND"),
    (errors.Conflict, 409, "ABORTED"),
    (errors.SessionOver, 410, "FAILED_PRECONDITION"),
    (errors.CursorExpired, 410, "OUT_OF_RANGE"),
    (errors.ApprovalExpired, 410, "FAILED_PRECONDITION"),
    (errors.TooLarge, 413, "RESOURCE_EXHAUSTED"),
    (errors.QuotaExceeded, 429, "RESOURCE_EXHAUSTED"),
    (errors.ModelFailed, 502, "UNAVAILABLE"),
    (errors.Unavailable, 503, "UNAVAILABLE"),
    (errors.Internal, 500, "INTERNAL"),
)
_BY_REASON: dict[str, tuple[int, str]] = {
    "invalid_json": (400, "INVALID_ARGUMENT"),
    "invalid_http": (400, "INVALID_ARGUMENT"),
    "invalid_header": (400, "INVALID_ARGUMENT"),
    "request_timeout": (408, "DEADLINE_EXCEEDED"),
    "url_too_long": (414, "RESOURCE_EXHAUSTED"),
    "headers_too_large": (431, "RESOURCE_EXHAUSTED"),
    "forbidden_host": (421, "PERMISSION_DENIED"),
    "session_exists": (409, "ALREADY_EXISTS"),
    "key_exists": (409, "ALREADY_EXISTS"),
    "idempotency_conflict": (409, "ALREADY_EXISTS"),
    "session_ended": (409, "FAILED_PRECONDITION"),
    "memory_off": (409, "FAILED_PRECONDITION"),
    "import_stopped": (409, "FAILED_PRECONDITION"),
    "invalid_config": (409, "FAILED_PRECONDITION"),
    "llm_timeout": (504, "DEADLINE_EXCEEDED"),
    "method_not_allowed": (405, "UNIMPLEMENTED"),
    "client_left": (CLIENT_LEFT, "CANCELLED"),
}
STATUSES = sorted({status for _, status, _ in _BY_CLASS} | {status for status, _ in _BY_REASON.values()})


def status_of(error: HectorError) -> tuple[int, str]:
    """(HTTP status, RPC word)."""
    by_reason = _BY_REASON.get(error.reason)
    if by_reason is not None:
        return by_reason
    for kind, status, code in _BY_CLASS:
        if isinstance(error, kind):
            return status, code
    return 500, "INTERNAL"
