"""The address `/mcp`, and the task that keeps the SDK's server open. Nothing of the SDK is imported here."""

from __future__ import annotations

import asyncio
import importlib

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.compat.mcp_server.connections import marked
from app.compat.mcp_server.presence import watched
from app.domain.errors import Unavailable
from app.observability.tasks import Tasks
from app.runtime import Runtime

PATH = "/mcp"


class McpDoor:
    """Opens with the first request, for loading the SDK takes half a second; `close` it when the server stops."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks = Tasks()
        self._opened: asyncio.Future[ASGIApp] | None = None
        self._stop = asyncio.Event()

    headers = ("Mcp-Session-Id", "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name")
    """What requests of pages have beside what others have."""

    def routes(self) -> list[Route]:
        if not self._runtime.config.compat.mcp.enabled:
            return []
        return [Route(PATH, self, methods=["GET", "POST", "DELETE"])]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._stop.is_set():
            raise Unavailable("The server is shutting down.", reason="shutting_down")
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._tasks.start(self._serve(self._opened), name="mcp door")
        app = await asyncio.shield(self._opened)
        scope, receive = watched(scope, receive)
        if word := self._runtime.house.sessions.here:
            scope, send = marked(scope, send, word)
        await app(scope, receive, send)

    async def _serve(self, opened: asyncio.Future[ASGIApp]) -> None:
        """One task enters and leaves the SDK's server, as its task group demands."""
        try:
            serving = await asyncio.to_thread(importlib.import_module, "app.compat.mcp_server.serving")
            async with serving.serving(self._runtime) as app:
                opened.set_result(app)
                await self._stop.wait()
        except Exception as error:
            if not opened.done():
                opened.set_exception(error)
            raise

    async def close(self) -> None:
        self._stop.set()
        await self._tasks.wait(seconds=5)
        await self._tasks.cancel()
