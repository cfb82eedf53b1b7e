"""Pages of other origins: those of this machine, and those that are kept out, which the operator is told with the line
of the configuration that lets them in."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.doors.answers import Answer

log = logging.getLogger(__name__)

LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\]|[a-z0-9-]+(\.[a-z0-9-]+)*\.localhost)(:[0-9]{1,5})?")
"""Origins of pages that this machine serves to itself."""
_USABLE = re.compile(r"https?://[a-z0-9.:\[\]-]{1,253}")
AGAIN_SECONDS = 600.0
"""How long the same origin is not told again."""
MOST = 20
"""Origins told in that time: a page of another origin costs its author nothing."""


class RefusedOrigins:
    """Says each origin once in a while, and few in all."""

    def __init__(self, allowed: Sequence[str], *, clock: Callable[[], float] = monotonic) -> None:
        self._allowed = list(allowed)
        self._clock = clock
        self._told: dict[str, float] = {}

    def note(self, origin: str) -> None:
        """A page of this origin was kept out, by us or by the browser on our behalf."""
        if not _USABLE.fullmatch(origin):
            return
        now = self._clock()
        self._told = {told: when for told, when in self._told.items() if now - when < AGAIN_SECONDS}
        if origin in self._told or len(self._told) >= MOST:
            return
        self._told[origin] = now
        line = ", ".join([f'"{one}"' for one in [*self._allowed, origin]])
        log.warning("a page of %s was refused; to let it in: server: {cors_origins: [%s]}", origin, line)


class NotingCors(CORSMiddleware):
    """That of Starlette, which also notes the pages whose preflight it refuses: nothing of these comes any further.

    With `*` it leaves the origin `null` out: that is every sandboxed frame and local file.
    """

    def __init__(self, app: ASGIApp, /, *, refused: RefusedOrigins, **options: Any) -> None:
        super().__init__(app, **options)
        self._refused = refused

    def preflight_response(self, request_headers: Headers) -> Response:
        if self._is_nameless(request_headers):
            return Answer("Disallowed CORS origin", 400, media_type="text/plain; charset=utf-8")
        if not self.is_allowed_origin(request_headers["origin"]):
            self._refused.note(request_headers["origin"].lower())
        return super().preflight_response(request_headers)

    async def simple_response(self, scope: Scope, receive: Receive, send: Send, request_headers: Headers) -> None:
        if self._is_nameless(request_headers):
            await self.app(scope, receive, send)
        else:
            await super().simple_response(scope, receive, send, request_headers)

    def _is_nameless(self, request_headers: Headers) -> bool:
        return self.allow_all_origins and request_headers.get("origin", "").lower() == "null"
