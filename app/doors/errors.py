"""Errors over HTTP: one shape of body for whatever the error table has, but on the paths of doors with a dialect."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from app.domain import errors
from app.domain.errors import HectorError
from app.doors.answers import Answer
from app.doors.error_table import status_of
from app.doors.schemas.errors import Error


def error_response(error: HectorError, request_id: str) -> Response:
    status, _ = status_of(error)
    headers = {"X-Request-Id": request_id}
    if isinstance(error, errors.QuotaExceeded | errors.Unavailable):
        headers |= retry_headers(error)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Answer(orjson.dumps(error_json(error, request_id)), status, headers)


def retry_headers(error: errors.QuotaExceeded | errors.Unavailable) -> dict[str, str]:
    """When to come again, and of a limit how much it is."""
    headers = {"Retry-After": str(error.retry_after_seconds)}
    if isinstance(error, errors.QuotaExceeded) and error.allowance is not None:
        headers |= allowance_headers(error.allowance)
    return headers


def allowance_headers(allowance: errors.Allowance) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers-10 has them."""
    window = "" if allowance.window_seconds is None else f";w={allowance.window_seconds}"
    return {
        "RateLimit-Policy": f'"{allowance.name}";q={allowance.most}{window}',
        "RateLimit": f'"{allowance.name}";r={allowance.left};t={allowance.reset_seconds}',
    }


def error_json(error: HectorError, request_id: str) -> Error:
    """The wire object of an error, the same on every door."""
    return {
        "error": {
            "code": status_of(error)[1],
            "reason": error.reason,
            "message": error.message,
            "details": error.details,
            "request_id": request_id,
        }
    }


ErrorShape = Callable[[HectorError, str], Response]
"""Writes an error, with the id of the request, as the clients of a dialect expect it."""


class ErrorShapes:
    """The shapes of the doors that have one of their own, by path. What refuses a request before it reaches a door (the
    guard, the router) writes the error in that door's shape, too."""

    def __init__(self) -> None:
        self._shapes: list[tuple[re.Pattern[str], ErrorShape]] = []

    def add(self, paths: re.Pattern[str], shape: ErrorShape) -> None:
        """Use `shape` for the paths that match `paths` from their start."""
        self._shapes.append((paths, shape))

    def find(self, path: str) -> ErrorShape:
        return next((shape for paths, shape in self._shapes if paths.match(path)), error_response)


def refusal(error: HectorError, scope: Scope) -> Response:
    """The error in the shape that belongs to the path of the request."""
    shapes = getattr(scope["app"].state, "error_shapes", None) if "app" in scope else None
    shape = shapes.find(scope["path"]) if shapes is not None else error_response
    return shape(error, scope.get("request_id", ""))


async def on_hector_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HectorError)
    return refusal(error, request.scope)


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
    response = refusal(refused, request.scope)
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
