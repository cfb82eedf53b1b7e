"""Open files: every connection is one, and when there are no more the system resets new connections without a word.

So the last of them are kept: a connection that takes one is told 503, unless it asks how the server is.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import deque

from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.errors import overloaded
from app.doors.errors import error_response

log = logging.getLogger(__name__)

_SIGNS_OF_LIFE = ("/health", "/ready", "/metrics")
_WARN_EVERY_SECONDS = 60.0


def raise_limit() -> None:
    """Allow this process as many open files as it may allow itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # some systems name no number here that they accept
        log.debug("the limit of open files stays at %d", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class OpenFiles:
    """How near this process is to its limit."""

    def __init__(self) -> None:
        self._warned_at = -_WARN_EVERY_SECONDS
        self._last: deque[asyncio.Transport] = deque()
        """Connections that got one of the last files, the newest last."""

    def are_scarce(self, transport: asyncio.Transport) -> bool:
        """Whether this new connection has one of the last files; warns then, at most once a minute.

        Its number says so: the system gives the lowest one that is free, whatever the others are used for.
        """
        socket = transport.get_extra_info("socket")
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if socket is None or limit == resource.RLIM_INFINITY or socket.fileno() < limit - _kept(limit):
            return False
        self._last.append(transport)
        if len(self._last) > _kept(limit) // 2:
            self._last.popleft().abort()  # who has not asked by now gives way to those who have just come
        now = time.monotonic()
        if now - self._warned_at >= _WARN_EVERY_SECONDS:
            self._warned_at = now
            log.warning(
                "%d of %d files are open, so new connections are refused; raise the limit (ulimit -n)",
                socket.fileno() + 1,
                limit,
            )
        return True

    @staticmethod
    def without_turns(app: ASGIApp) -> ASGIApp:
        """`app` for such a connection."""

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"].endswith(_SIGNS_OF_LIFE):
                await app(scope, receive, send)
            else:
                await error_response(overloaded("The server has no open files left for this"), "")(scope, receive, send)

        return refuse


def _kept(limit: int) -> int:
    """Files for signs of life, the database and models: an eighth, and no more than 128."""
    return min(128, limit // 8)
