"""The SDK's server: its handlers, and the two transports of streamable HTTP behind one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
from mcp import types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.compat.mcp_server.calls import Calls
from app.compat.mcp_server.handles import EXTENSION, in_words_of_the_protocol, principal_of
from app.compat.mcp_server.offer import INPUT, offered, tool_of
from app.compat.mcp_server.tasks import TaskParams, TaskRequests, UpdateParams
from app.domain.principal import Principal
from app.doors.json_route import without_nul
from app.doors.scopes import check_operation
from app.runtime import Runtime

LIST_FRESH_MS = 60_000
INSTRUCTIONS = (
    "Each tool is an agent. Without session_id a call begins a new conversation; its session_id is in the result. "
    "Send that along to go on with the conversation."
)

Context = ServerRequestContext[Any, Any]


@asynccontextmanager
async def serving(runtime: Runtime) -> AsyncIterator[ASGIApp]:
    """The application behind `/mcp`; the guard has put the principal into the scope."""
    config = runtime.config
    calls = Calls(runtime)
    manager = StreamableHTTPSessionManager(
        _server(runtime, calls),
        max_request_body_size=config.server.max_body,
        session_idle_timeout=config.compat.mcp.connection_timeout.total_seconds(),
        max_sessions=config.compat.mcp.max_connections,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["user"] = _user_of(scope["principal"])
        await manager.handle_request(scope, receive, send)

    try:
        async with manager.run():
            yield app
    finally:
        await calls.close()


def _server(runtime: Runtime, calls: Calls) -> Server[Any]:
    async def list_tools(context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool_of(agent) for agent in offered(runtime, principal_of(context))])

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> HandlerResult:
        return await calls.answer(context, params)

    server: Server[Any] = Server(
        "hector",
        version=__version__,
        title="Hector",
        instructions=INSTRUCTIONS,
        cache_hints={"tools/list": CacheHint(ttl_ms=LIST_FRESH_MS, scope="private")},
        get_tool_input_schema=lambda name: INPUT,
        on_list_tools=list_tools,
        on_call_tool=call_tool,  # type: ignore[arg-type]  # the SDK's type leaves out the results of extensions
    )
    server.middleware[:] = [_permitted, _storable]  # and no span for each message: traces are of turns
    server.extensions = {EXTENSION: {}}
    tasks = TaskRequests(runtime)
    server.add_request_handler("tasks/get", TaskParams, tasks.get)
    server.add_request_handler("tasks/update", UpdateParams, tasks.update)
    server.add_request_handler("tasks/cancel", TaskParams, tasks.cancel)
    return server


async def _permitted(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Refuse what the caller's scopes do not allow. Raises MCPError."""
    with in_words_of_the_protocol():
        check_operation(principal_of(ctx), "mcp", ctx.method)
    return await call_next(ctx)


async def _storable(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Refuse requests with texts that no database takes. Raises MCPError."""
    if ctx.params and ctx.request_id is not None:
        try:
            written = orjson.dumps(ctx.params)
        except TypeError as error:  # half of a surrogate pair, a huge number, hundreds of levels
            raise MCPError(types.INVALID_PARAMS, f"The parameters cannot be stored: {error}") from None
        if b"\\u0000" in written:
            ctx = replace(ctx, params=without_nul(dict(ctx.params)))
    return await call_next(ctx)


def _user_of(principal: Principal) -> AuthenticatedUser:
    """The owner of a connection of an older protocol, as the SDK knows it: nobody else can use that connection."""
    token = AccessToken(token="", client_id=principal.id, scopes=[], subject=principal.effective_user)
    return AuthenticatedUser(token)
