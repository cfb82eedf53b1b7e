"""create_app: FastAPI, the guard before it, the routers. No logic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import Message, Receive, Scope, Send

from app import __version__
from app.compat import agui, ui_message_stream, vectorshift
from app.compat.a2a.door import A2ADoor
from app.compat.mcp_server import McpDoor
from app.compat.openai import HEADERS as OPENAI_HEADERS
from app.compat.openai import install as open_openai_door
from app.domain.errors import HectorError
from app.doors.direct_send import keep_server_send
from app.doors.errors import ErrorShapes, on_hector_error, on_http_exception
from app.doors.scopes import RouteScopes
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
    sessions,
    tickets,
    usage,
)
from app.routers.elsewhere import Elsewhere, PassingOn
from app.routers.guard import Guard
from app.routers.origins import LOCAL, NotingCors, RefusedOrigins
from app.routers.streams import Streams
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
)
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
"""FastAPI would write a span for each request, with the ticket that the query of a stream may have in it."""


class Application(FastAPI):
    """FastAPI, which lets streams reach the server's own `send`, and answers HEAD wherever it answers GET."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not scope["path"].endswith("/stream"):
            scope, send = {**scope, "method": "GET"}, without_body(send)  # streams answer HEAD themselves
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

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        heartbeats = loop.create_task(readers.run(), name="heartbeats")
        lag = loop.create_task(runtime.lag.run(), name="lag")
        opened_a2a.start()
        yield
        heartbeats.cancel()
        lag.cancel()
        await opened_a2a.close()
        await mcp.close()
        if passing is not None:
            await passing.close()

    config = runtime.config.server
    readers = runtime.conversation.readers
    mcp = McpDoor(runtime)
    opened_a2a = a2a or A2ADoor(runtime)
    runtime.on_stop(readers.stop)
    passing = PassingOn(runtime, runtime.cluster.places) if runtime.cluster is not None else None
    middleware = []
    refused = RefusedOrigins(config.cors_origins)
    if config.cors_origins or accepts_local_pages:
        middleware.append(
            Middleware(
                NotingCors,
                refused=refused,
                allow_origins=list(config.cors_origins),
                allow_origin_regex=LOCAL.pattern if accepts_local_pages else None,
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=[
                    "Content-Type",
                    "Authorization",
                    "Last-Event-ID",
                    "Idempotency-Key",
                    "X-User-Id",
                    "X-User-Id*",
                    *mcp.headers,
                    *OPENAI_HEADERS,
                ],
                expose_headers=[
                    "X-Session-Id",
                    "X-Hector-Session",
                    "Retry-After",
                    "RateLimit",
                    "RateLimit-Policy",
                    "Mcp-Session-Id",
                ],
            )
        )
    middleware.append(
        Middleware(
            Guard,
            authenticator=runtime.authenticator,
            cors_origins=config.cors_origins,
            allowed_hosts=[*config.allowed_hosts, config.host],
            public_url=config.public_url,
            tickets=runtime.tickets,
            routes=RouteScopes(runtime.config.compat),
            limits=runtime.limits,
            refused=refused,
            accepts_local_pages=accepts_local_pages,
            is_elsewhere=None if passing is None else lambda scope: passing.replica_of(scope) is not None,
        )
    )
    if passing is not None:
        middleware.append(Middleware(Elsewhere, passing=passing))
    app = Application(
        title="Hector",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=middleware,
        exception_handlers={HectorError: on_hector_error, HTTPException: on_http_exception},
        telemetry=NO_TELEMETRY,
    )
    app.state.runtime = runtime
    app.state.error_shapes = ErrorShapes()
    app.router.routes.extend(Streams(runtime).routes())  # first: each address before it is tried with each message
    open_openai_door(app, runtime)
    app.router.routes.extend(vectorshift.door_routes(runtime))
    app.router.routes.extend([*agui.routes(runtime), *ui_message_stream.routes(runtime), *opened_a2a.routes()])
    app.router.routes.extend(websocket.routes(runtime))
    for room in ROOMS:
        app.router.routes.extend(room.router.routes)  # `include_router` would analyse each once more, at first use
    app.router.routes.extend(mcp.routes())
    app.router.routes.extend(page.routes())
    openapi.install(app, needs_key=runtime.config.auth.asks, public_url=config.public_url)
    return app
