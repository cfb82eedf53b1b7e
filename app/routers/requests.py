"""Requests: counts each of them when its answer begins, and writes it to the access log when it is over.

Before everything else, so that refusals are counted, too. It costs two looks at the clock and one lookup for each
request, and nothing for each token: what streams send does not pass here (doors/direct_send.py).
"""

from __future__ import annotations

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.doors.error_table import CLIENT_LEFT
from app.doors.scopes import RouteScopes
from app.observability import access
from app.observability.metrics import Metrics

OTHER = "other"
"""The route of requests for what is not there: their paths are what clients choose."""
_SWITCHED = 101
_ASKED_AS = "hector.asked_as"
_SEND_STATUS = {"websocket.accept": _SWITCHED, "websocket.close": 403}
"""What those messages are on the wire, when they come first."""


def note_refusal(metrics: Metrics, status: int, client: str | None, request_id: str) -> None:
    """Count and write a request that is refused before it is one: too large, too slow, or not HTTP."""
    metrics.request_refused(status)
    if access.is_on():
        access.write(access.Access(client, None, "-", "-", OTHER, status, 0.0, None, request_id))


def note_method(scope: Scope, method: str) -> None:
    """Keep the method that the client used, where the application sees another one."""
    scope[_ASKED_AS] = method


class Requests:
    """ASGI in front of the application."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: RouteScopes) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        method = scope.get(_ASKED_AS) or scope.get("method", "WEBSOCKET")
        start: Message | None = None

        async def noting(message: Message) -> None:
            nonlocal start
            if start is None:
                start = message
                self._count(scope, method, _status(message), perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if start is None:
                self._count(scope, method, CLIENT_LEFT, perf_counter() - began)
            if access.is_on():
                status = CLIENT_LEFT if start is None else _status(start)
                self._write(scope, method, status, start, perf_counter() - began)

    def _count(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        self._metrics.request_answered(method=method, route=self._route(scope, method), status=status, seconds=seconds)

    def _route(self, scope: Scope, method: str) -> str:
        # After the guard, which takes the path of `public_url` off.
        return self._routes.template(method, scope["path"]) or OTHER

    def _write(self, scope: Scope, method: str, status: int, start: Message | None, seconds: float) -> None:
        client, principal = scope.get("client"), scope.get("principal")
        sent_path: bytes = scope.get("raw_path") or scope["path"].encode()
        access.write(
            access.Access(
                client=client[0] if client else None,
                principal=principal.id if principal is not None else None,
                method=method,
                path=sent_path.partition(b"?")[0].decode("latin-1"),
                route=self._route(scope, method),
                status=status,
                ms=round(seconds * 1000, 1),
                bytes=_declared_bytes(start),
                request_id=scope.get("request_id"),
            )
        )


def _status(start: Message) -> int:
    """The status that a first message is on the wire."""
    found: int = start.get("status") or _SEND_STATUS.get(start["type"], _SWITCHED)
    return found


def _declared_bytes(start: Message | None) -> int | None:
    headers = start.get("headers", ()) if start is not None else ()
    return next((int(value) for name, value in headers if name.lower() == b"content-length"), None)
