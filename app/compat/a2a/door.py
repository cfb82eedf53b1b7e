"""The door of A2A. The SDK is imported with the first request: it takes half a second, which no start waits for."""

from __future__ import annotations

import asyncio
import logging
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.config.compat import A2AConfig
from app.domain.errors import HectorError
from app.events.log import SessionLog
from app.observability.tasks import Tasks
from app.runtime import Runtime

if TYPE_CHECKING:
    from app.compat.a2a.handler import Handler
    from app.compat.a2a.http import Http

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often it is looked for notifications that another server was to send, and died."""
CARD = "/.well-known/agent-card.json"
Place = Literal["card", "only_card", "jsonrpc", "rest"]


def is_open(config: A2AConfig) -> bool:
    """Whether the door is to be open, and the extra is installed."""
    return config.enabled and find_spec("a2a") is not None


class A2ADoor:
    """One for the server, whose wires share its handler. `start` it with the server, `close` it before the runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks = Tasks()
        self._loading: asyncio.Task[Handler] | None = None
        self._http: Http | None = None

    def routes(self) -> list[Route]:
        """None if the door is closed, or cannot be opened."""
        config = self._runtime.config.compat.a2a
        if not is_open(config):
            if config.enabled and "enabled" in config.model_fields_set:
                log.warning("A2A stays closed: compat.a2a.enabled needs: pip install 'hector[a2a]'")
            return []
        return [
            Route(f"/agents/{{agent}}{CARD}", _Endpoint(self, "card"), methods=["GET"]),
            Route(CARD, _Endpoint(self, "only_card"), methods=["GET"]),
            Route("/agents/{agent}/a2a", _Endpoint(self, "jsonrpc"), methods=["POST"]),
            Route("/agents/{agent}/a2a/rest/{path:path}", _Endpoint(self, "rest"), methods=["GET", "POST", "DELETE"]),
        ]

    def start(self) -> None:
        """Go on telling clients of tasks that the process before was to tell the end of."""
        config = self._runtime.config.compat.a2a
        if config.push and is_open(config):
            self._runtime.house.push_configs.on_added = self._follow_soon
            self._tasks.start(self._resume_push(), name="push notifications of before")

    async def close(self) -> None:
        await self._tasks.cancel()

    async def handler(self) -> Handler:
        """Loads the SDK once, in a thread."""
        if self._loading is None:
            self._loading = self._tasks.start(self._load(), name="loading of A2A")
        return await asyncio.shield(self._loading)

    async def http(self) -> Http:
        handler = await self.handler()
        if self._http is None:
            from app.compat.a2a.http import Http

            self._http = Http(self._runtime, handler)
        return self._http

    async def _load(self) -> Handler:
        await asyncio.to_thread(_load_sdk)
        from app.compat.a2a.handler import Handler
        from app.compat.a2a.push import Push
        from app.compat.a2a.service import Service

        service = Service(self._runtime)
        push = Push(service, self._runtime.config.compat.a2a)
        self._runtime.on_stop(push.stop)
        return Handler(service, push)

    def _follow_soon(self, session_log: SessionLog, task_id: str) -> None:
        """A client wants to be told of a task in a session of ours, through whichever server it said so."""
        self._tasks.start(self._follow(session_log, task_id), name=f"push notifications of {task_id}")

    async def _follow(self, session_log: SessionLog, task_id: str) -> None:
        (await self.handler()).push.follow(session_log, task_id)

    async def _resume_push(self) -> None:
        """Tell what the process before did not, and from time to time what servers that died did not."""
        while True:
            try:
                if await self._runtime.house.push_configs.untold():
                    await (await self.handler()).push.resume()
            except HectorError as error:
                log.warning("push notifications are not looked for now: %s", error)
            if self._runtime.cluster is None:
                return
            await asyncio.sleep(LOOK_SECONDS)


def _load_sdk() -> None:
    # The SDK would write a span for each of its calls; ours are written by observability/tracing.py.
    os.environ.setdefault("OTEL_INSTRUMENTATION_A2A_SDK_ENABLED", "false")
    import app.compat.a2a.http  # noqa: F401

    # It logs each bad request with a traceback; our own faults are logged in errors.py.
    logging.getLogger("a2a").setLevel(logging.CRITICAL)


class _Endpoint:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, door: A2ADoor, place: Place) -> None:
        self._door = door
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = await self._door.http()
        await getattr(http, self._place)(scope, receive, send)
