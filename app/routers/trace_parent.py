"""TraceParent: remembers which span a request belongs to, so that the turn it begins goes below it, at any server."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.observability import tracing

_HEADER = tracing.HEADER.encode()
MOST_BYTES = 128
"""A header that is longer is none; one is 55 bytes long."""


class TraceParent:
    """ASGI in front of the application, where spans are sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope.get("headers", ()):
            if name == _HEADER and len(value) <= MOST_BYTES:
                tracing.caller.set(value.decode("latin-1"))
        await self._app(scope, receive, send)
