"""Routes of the files that a browser opens: the chat page in `chat/`, the pages of the API in `docs/`.

They use the same HTTP API as other clients. The chat page needs no key: its files hold no secret, and a browser cannot
send a key when it opens a page. The pages of the API are as open as `/openapi.json` (app/routers/guard.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

CHAT = Path(__file__).parent / "chat"
DOCS = Path(__file__).parent / "docs"

# No inline script or style, no other origin.
_STRICT = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self'; "
    "connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'; "
)
# Markup enters the chat page only through the Trusted Types policy of the sanitiser; the other policy knows the one
# address of the worker that reads Markdown.
_CHAT_POLICY = (
    _STRICT + "img-src 'self'; worker-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types dompurify hector-worker"
)
# Swagger UI has its icons in its style sheet.
_DOCS_POLICY = _STRICT + "img-src 'self' data:"


def routes() -> list[BaseRoute]:
    chat, docs = _Files(CHAT, policy=_CHAT_POLICY), _Files(DOCS, policy=_DOCS_POLICY)
    return [
        Route("/", _Index(chat), methods=["GET"]),
        Mount("/page", chat),
        Route("/docs", _Index(docs), methods=["GET"]),
        Mount("/docs", docs),
    ]


class _Files(StaticFiles):
    def __init__(self, folder: Path, *, policy: str) -> None:
        super().__init__(directory=folder)
        self._headers = {
            "Cache-Control": "no-cache",  # the browser keeps the file and revalidates it by its ETag
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(self._headers)
        return response


class _Index:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, files: StaticFiles) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._files.get_response("index.html", scope)
        await response(scope, receive, send)
