"""Routes of the files that a browser opens. The chat page is in `chat/`; it uses the same HTTP API as other clients.

The files need no key: they hold no secret, and a browser cannot send a key when it opens a page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

CHAT = Path(__file__).parent / "chat"

# No inline script or style, no other origin, and markup only through the Trusted Types policy of the sanitiser.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "img-src 'self'; "
    "connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; "
    "trusted-types dompurify"
)
_HEADERS = {
    "Cache-Control": "no-cache",  # the browser keeps the file and revalidates it by its ETag
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[BaseRoute]:
    files = _Files(directory=CHAT)
    return [Route("/", _Index(files), methods=["GET"]), Mount("/page", files)]


class _Files(StaticFiles):
    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(_HEADERS)
        return response


class _Index:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, files: StaticFiles) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._files.get_response("index.html", scope)
        await response(scope, receive, send)
