"""Errors over HTTP: one table from the error tree to status and RPC word, one shape of body."""

from __future__ import annotations

import orjson
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from app.domain import errors
from app.domain.errors import HectorError
from app.routers.answers import Answer

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
    "idempotency_conflict": (409, "ALREADY_EXISTS"),
    "session_ended": (409, "FAILED_PRECONDITION"),
    "memory_off": (409, "FAILED_PRECONDITION"),
    "import_stopped": (409, "FAILED_PRECONDITION"),
    "llm_timeout": (504, "DEADLINE_EXCEEDED"),
    "method_not_allowed": (405, "UNIMPLEMENTED"),
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


def error_response(error: HectorError, request_id: str) -> Response:
    status, code = status_of(error)
    headers = {"X-Request-Id": request_id}
    if isinstance(error, errors.QuotaExceeded | errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = {
        "error": {
            "code": code,
            "reason": error.reason,
            "message": error.message,
            "details": error.details,
            "request_id": request_id,
        }
    }
    return Answer(orjson.dumps(body), status, headers)


async def on_hector_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HectorError)
    return error_response(error, request.scope.get("request_id", ""))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """The answer to an unknown address or a wrong method, which the router refuses itself."""
    status = getattr(error, "status_code", 500)
    refused: HectorError
    if status == 405:
        refused = errors.InvalidRequest(
            f"{request.url.path} does not take {request.method}.", reason="method_not_allowed"
        )
    else:
        refused = errors.NotFound(f"There is nothing at {request.url.path}; see /openapi.json.")
    response = error_response(refused, request.scope.get("request_id", ""))
    if status == 405:
        response.headers["Allow"] = ", ".join(_methods_at(request)) or "GET, HEAD"  # a mounted file has no route
    return response


def _methods_at(request: Request) -> list[str]:
    """Every method of this address; the router names only those of the first route that it met."""
    found: set[str] = set()
    for context in iter_route_contexts(request.app.routes):
        match, _ = context.original_route.matches(request.scope)
        if match is not Match.NONE:
            found |= context.methods or set()
    if "GET" in found:
        found.add("HEAD")
    return sorted(found)
