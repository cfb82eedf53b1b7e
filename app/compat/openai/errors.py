"""Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from app.domain.errors import HectorError, InvalidRequest, NotFound, QuotaExceeded, Unavailable
from app.doors.answers import Answer
from app.doors.error_table import status_of
from app.doors.errors import retry_headers

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {"unauthenticated": "invalid_api_key", "agent_not_found": "model_not_found"}
_STATUSES = {410: 404, 422: 400}
"""What these clients know by another number: their classes of errors go by the status."""
_RETRIED = (429, 503)


def error_object(error: HectorError) -> dict[str, Any]:
    """The inside of `error`. `code` is our reason, or OpenAI's own word for the same; `param` the field."""
    problems = error.details.get("problems")
    param = problems[0].get("field") if isinstance(problems, list) and problems else None
    return {
        "message": error.message,
        "type": _type_of(status_of(error)[0]),
        "param": param or None,
        "code": _CODES.get(error.reason, error.reason),
    }


def error_answer(error: HectorError, request_id: str) -> Response:
    """The answer to a request that failed before it had one.

    The clients repeat a request by themselves after 409 and any 5xx. Once a turn has begun that would be another
    message, so `x-should-retry` tells them when not to.
    """
    status = status_of(error)[0]
    status = _STATUSES.get(status, status)
    is_safe = status in _RETRIED and "turn_id" not in error.details
    headers = {"X-Request-Id": request_id, "x-should-retry": "true" if is_safe else "false"}
    if isinstance(error, QuotaExceeded | Unavailable):
        headers |= retry_headers(error)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Answer(orjson.dumps({"error": error_object(error)}), status, headers)


def invalid(field: str, problem: str) -> InvalidRequest:
    """The refusal of a field of the body."""
    return InvalidRequest(f"{field}: {problem}", details={"problems": [{"field": field, "problem": problem}]})


def model_not_found(name: str) -> NotFound:
    return NotFound(
        f"The model {name!r} does not exist; GET /models lists them.",
        reason="agent_not_found",
        details={"problems": [{"field": "model"}]},
    )


def _type_of(status: int) -> str:
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
