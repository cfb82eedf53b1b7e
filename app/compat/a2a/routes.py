"""Routes of A2A. The SDK is imported with the first request: it takes half a second, which no start should wait for."""

from __future__ import annotations

import asyncio
import logging
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.config.compat import A2AConfig
from app.runtime import Runtime

if TYPE_CHECKING:
    from app.compat.a2a.http import Http

log = logging.getLogger(__name__)

CARD = "/.well-known/agent-card.json"
Place = Literal["card", "only_card", "jsonrpc", "rest"]


def routes(runtime: Runtime) -> list[Route]:
    """None if the door is closed, or cannot be opened."""
    config = runtime.config.compat.a2a
    if not is_open(config):
        if config.enabled and "enabled" in config.model_fields_set:
            log.warning("A2A stays closed: compat.a2a.enabled needs: pip install 'hector[a2a]'")
        return []
    door = _Door(runtime)
    return [
        Route(f"/agents/{{agent}}{CARD}", _Endpoint(door, "card"), methods=["GET"]),
        Route(CARD, _Endpoint(door, "only_card"), methods=["GET"]),
        Route("/agents/{agent}/a2a", _Endpoint(door, "jsonrpc"), methods=["POST"]),
        Route("/agents/{agent}/a2a/rest/{path:path}", _Endpoint(door, "rest"), methods=["GET", "POST", "DELETE"]),
    ]


def is_open(config: A2AConfig) -> bool:
    """Whether the door is to be open, and the extra is installed."""
    return config.enabled and find_spec("a2a") is not None


class _Door:
    """Loads the SDK once, in a thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loading: asyncio.Task[Http] | None = None

    async def http(self) -> Http:
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load(), name="loading of A2A")
        return await asyncio.shield(self._loading)

    async def _load(self) -> Http:
        await asyncio.to_thread(_load_sdk)
        from app.compat.a2a.http import Http

        return Http(self._runtime)


def _load_sdk() -> None:
    # The SDK would write a span for each of its calls; ours are written by observability/tracing.py.
    os.environ.setdefault("OTEL_INSTRUMENTATION_A2A_SDK_ENABLED", "false")
    import app.compat.a2a.http  # noqa: F401


class _Endpoint:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, door: _Door, place: Place) -> None:
        self._door = door
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = await self._door.http()
        await getattr(http, self._place)(scope, receive, send)
