"""The addresses of the door, as plain ASGI below the configured prefix, and the shape of its errors."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.compat.openai import chat, conversations, embeddings, models, responses
from app.compat.openai.errors import error_answer
from app.doors.door import Door
from app.runtime import Runtime

Serve = Callable[[Runtime, Request], Awaitable[ASGIApp]]
"""Looks at a request and gives what answers it. Raises what refuses it."""

HEADERS = (
    "X-Hector-Session",
    "OpenAI-Beta",
    "OpenAI-Organization",
    "OpenAI-Project",
    *[
        f"X-Stainless-{name}"
        for name in (
            "Lang",
            "Package-Version",
            "OS",
            "Arch",
            "Runtime",
            "Runtime-Version",
            "Retry-Count",
            "Timeout",
            "Helper-Method",
        )
    ],
)
"""What the client in a page of another origin sends with its requests."""

_ROOTS = "models|chat|responses|conversations|embeddings"


def door(runtime: Runtime) -> Door:
    """Nothing unless `compat.openai.enabled`."""
    config = runtime.config.compat.openai
    if not config.enabled:
        return Door(())
    paths = re.compile(rf"{re.escape(config.prefix)}/(?:{_ROOTS})(?:/|\Z)")
    routes = [_route(runtime, config.prefix, *line) for line in _TABLE]
    return Door(routes, headers=HEADERS, shown=("X-Hector-Session",), errors=(paths, error_answer))


_TABLE: tuple[tuple[str, str, Serve], ...] = (
    ("GET", "/models", models.list_models),
    ("GET", "/models/{model:path}", models.get_model),
    ("POST", "/chat/completions", chat.complete),
    ("POST", "/responses", responses.create),
    ("GET", "/responses/{response}", responses.get),
    ("DELETE", "/responses/{response}", responses.delete),
    ("POST", "/responses/{response}/cancel", responses.cancel),
    ("GET", "/responses/{response}/input_items", responses.list_input),
    ("POST", "/conversations", conversations.create),
    ("GET", "/conversations/{conversation}", conversations.get),
    ("POST", "/conversations/{conversation}", conversations.update),
    ("DELETE", "/conversations/{conversation}", conversations.delete),
    ("POST", "/conversations/{conversation}/items", conversations.add_items),
    ("GET", "/conversations/{conversation}/items", conversations.list_items),
    ("GET", "/conversations/{conversation}/items/{item}", conversations.get_item),
    ("POST", "/embeddings", embeddings.embed),
)


def _route(runtime: Runtime, prefix: str, method: str, path: str, serve: Serve) -> Route:
    return Route(prefix + path, _Endpoint(runtime, serve), methods=[method])


class _Endpoint:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, runtime: Runtime, serve: Serve) -> None:
        self._runtime = runtime
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._serve(self._runtime, Request(scope, receive))
        await answer(scope, receive, send)
