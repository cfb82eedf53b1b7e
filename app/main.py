"""create_app: FastAPI, the guard before it, the routers. No logic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import Message, Receive, Scope, Send

from app import __version__
from app.compat import agui, ui_message_stream, vectorshift
from app.compat.a2a.door import A2ADoor
from app.compat.mcp_server import McpDoor
from app.compat.openai import door as openai_door
from app.domain.errors import HectorError
from app.doors.direct_send import keep_server_send
from app.doors.door import Door
from app.doors.errors import ErrorShapes, on_hector_error, on_http_exception
from app.doors.scopes import RouteScopes
from app.observability import tracing
from app.page import routes as page
from app.routers import (
    acts,
    agents,
    configuration,
    conversations,
    documents,
    forgetting,
    keys,
    memories,
    messages,
    openapi,
    replicas,
    sessions,
    tickets,
    usage,
)
from app.routers.elsewhere import Elsewhere, PassingOn
from app.routers.guard import Guard
from app.routers.origins import LOCAL, NotingCors, RefusedOrigins
from app.routers.requests import Requests, note_method
from app.routers.streams import Streams
from app.routers.trace_parent import TraceParent
from app.routers.websocket import routes as websocket
from app.runtime import Runtime

ROOMS = (
    conversations,
    sessions,
    tickets,
    messages,
    acts,
    memories,
    forgetting,
    documents,
    agents,
    usage,
    keys,
    configuration,
    replicas,
)
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
"""FastAPI would write a span for each request, with the ticket that the query of a stream may have in it."""
HEADERS = ("Content-Type", "Authorization", "Last-Event-ID", "Idempotency-Key", "X-User-Id", "X-User-Id*")
"""What pages of other origins may send to every door."""
SHOWN = ("X-Session-Id", "Retry-After", "RateLimit", "RateLimit-Policy")
"""What they may read of the answers of every door."""


class Application(FastAPI):
    """FastAPI, which lets streams reach the server's own `send`, and answers HEAD wherever it answers GET."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not scope["path"].endswith("/stream"):
            scope, send = {**scope, "method": "GET"}, without_body(send)  # streams answer HEAD themselves
            note_method(scope, "HEAD")
        keep_server_send(scope, send)
        await super().__call__(scope, receive, send)


def without_body(send: Send) -> Send:
    """What a GET answers, as HEAD is to have it."""

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head


def create_app(runtime: Runtime, *, a2a: A2ADoor | None = None, accepts_local_pages: bool = False) -> FastAPI:
    """The application on an opened runtime; closing the runtime is the caller's business.

    `a2a`: the door that gRPC shares. `accepts_local_pages`: as if every origin of this machine were in
    `server.cors_origins`.
    """
    doors = doors_of(runtime, a2a or A2ADoor(runtime))
    passing = PassingOn(runtime, runtime.cluster.places) if runtime.cluster is not None else None
    app = Application(
        title="Hector",
        version=__version__,
        lifespan=_lifespan(runtime, doors, passing),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=_middleware(runtime, doors, passing, accepts_local_pages=accepts_local_pages),
        exception_handlers={HectorError: on_hector_error, HTTPException: on_http_exception},
        telemetry=NO_TELEMETRY,
    )
    app.state.runtime = runtime
    app.state.error_shapes = ErrorShapes()
    for door in doors:
        app.router.routes.extend(door.routes)
        if door.errors is not None:
            app.state.error_shapes.add(*door.errors)
    openapi.install(app, needs_key=runtime.config.auth.asks, public_url=runtime.config.server.public_url)
    return app


def doors_of(runtime: Runtime, a2a: A2ADoor) -> list[Door]:
    """Every door of HTTP and WebSocket, in the order in which their routes are tried: streams with each message."""
    mcp = McpDoor(runtime)
    return [
        Door(Streams(runtime).routes()),
        openai_door(runtime),
        Door(vectorshift.door_routes(runtime)),
        Door(agui.routes(runtime)),
        Door(ui_message_stream.routes(runtime)),
        Door(a2a.routes(), start=a2a.start, close=a2a.close),
        Door(websocket.routes(runtime)),
        # Not by `include_router`, which would analyse each route once more, at first use.
        *[Door(room.router.routes) for room in ROOMS],
        Door(mcp.routes(), headers=mcp.headers, shown=("Mcp-Session-Id",), close=mcp.close),
        Door(page.routes()),
    ]


def _lifespan(
    runtime: Runtime, doors: Sequence[Door], passing: PassingOn | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    readers = runtime.conversation.readers
    runtime.on_stop(readers.stop)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        heartbeats = loop.create_task(readers.run(), name="heartbeats")
        lag = loop.create_task(runtime.lag.run(), name="lag")
        for door in doors:
            if door.start is not None:
                door.start()
        yield
        heartbeats.cancel()
        lag.cancel()
        for door in doors:
            if door.close is not None:
                await door.close()
        if passing is not None:
            await passing.close()

    return lifespan


def _middleware(
    runtime: Runtime, doors: Sequence[Door], passing: PassingOn | None, *, accepts_local_pages: bool
) -> list[Middleware]:
    """What stands before the doors: what counts requests, CORS, where pages of other origins are let in, the guard, and
    what passes requests on to the server that their session is at."""
    config = runtime.config.server
    routes = RouteScopes(runtime.config.compat)
    requests = Middleware(Requests, metrics=runtime.metrics, routes=routes)
    refused = RefusedOrigins(config.cors_origins)
    guard = Middleware(
        Guard,
        authenticator=runtime.authenticator,
        cors_origins=config.cors_origins,
        allowed_hosts=[*config.allowed_hosts, config.host],
        public_url=config.public_url,
        tickets=runtime.tickets,
        routes=routes,
        limits=runtime.limits,
        refused=refused,
        accepts_local_pages=accepts_local_pages,
        is_elsewhere=None if passing is None else lambda scope: passing.replica_of(scope) is not None,
    )
    behind = [guard] if passing is None else [guard, Middleware(Elsewhere, passing=passing)]
    if tracing.is_on():
        behind = [*behind, Middleware(TraceParent)]
    if not config.cors_origins and not accepts_local_pages:
        return [requests, *behind]
    cors = Middleware(
        NotingCors,
        refused=refused,
        allow_origins=list(config.cors_origins),
        allow_origin_regex=LOCAL.pattern if accepts_local_pages else None,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[*HEADERS, *[name for door in doors for name in door.headers]],
        expose_headers=[*SHOWN, *[name for door in doors for name in door.shown]],
    )
    return [requests, cors, *behind]
