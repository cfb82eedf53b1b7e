"""The server with one thing done the other way: `python -m benchmarks.variant stock|woken|route|… serve …`."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from sse_starlette import EventSourceResponse
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.cli.main import main
from app.routers import frames, streams
from app.routers.frames import EventStream
from app.routers.sse import DONE, RETRY


class StockStream(EventStream):
    """Hands the same bytes, ready, to an unchanged EventSourceResponse; plain views only."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = EventSourceResponse(self._bytes(), headers={"X-Accel-Buffering": "no"})
        await response(scope, receive, send)

    async def _bytes(self) -> AsyncIterator[bytes]:
        reading = self.reading
        body = RETRY  # with the first event
        with reading:
            while True:
                runs = reading.take()
                if runs is None:
                    runs = await reading.replay()
                if runs:
                    body += self._render(runs)
                if body not in (b"", RETRY):
                    yield body
                    body = b""
                if self._is_over:
                    return
                if runs:
                    continue
                if self._view.is_exhausted(reading.log):
                    yield DONE
                    return
                await reading.wait()


class Later(Response):
    """A response that is made only when it is sent: lets a FastAPI route carry an ASGI endpoint."""

    def __init__(self, serve: Any) -> None:
        super().__init__()
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


def stock() -> None:
    """sse-starlette's response."""
    streams.EventStream = StockStream


def woken() -> None:
    """New text wakes the stream's task, which sends it."""
    EventStream._send_now = lambda self: False


def layered() -> None:
    """Body frames are sent as the response's start is."""
    frames.server_send = lambda scope, send: send


def route() -> None:
    """The streams as FastAPI routes."""
    plain = streams.Streams.routes

    def routes(self: streams.Streams) -> list[Any]:
        return [as_fastapi(found) for found in plain(self)]

    streams.Streams.routes = routes


def as_fastapi(found: Route) -> APIRoute:
    async def endpoint(request: Request) -> Response:
        return Later(found.endpoint)

    return APIRoute(found.path, endpoint, methods=list(found.methods or ()))


def keep_gc() -> None:
    """The garbage collector as Python sets it up."""
    gc.freeze = lambda: None
    gc.set_threshold = lambda *thresholds: None


VARIANTS: dict[str, Callable[[], None]] = {
    "stock": stock,
    "woken": woken,
    "layered": layered,
    "route": route,
    "gc": keep_gc,
}

if __name__ == "__main__":
    VARIANTS[sys.argv.pop(1)]()
    main()
