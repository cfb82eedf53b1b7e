"""hector mcp: the door for MCP clients on standard input and output. It passes messages on to a server's `/mcp`.

One door, whether the server is far away, found on the configured data, or in this process: what it answers, who may do
what, and what a cancelled request means are decided there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
from mcp import types
from mcp.client.streamable_http import streamable_http_client
from mcp.server.stdio import stdio_server
from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PROTOCOL_VERSION_HEADER,
    encode_header_value,
)
from mcp.shared.message import ClientMessageMetadata, SessionMessage

from app.cli.addresses import UNIX, normal_url
from app.cli.connection import Reached, Target, reach
from app.cli.failures import CommandFailed, ExitCode
from app.cli.mcp_lines import standard_input
from app.cli.mcp_transport import LastingTransport

SILENCE_SECONDS = 60.0
"""A server says something every 15 s, also while a call is quiet."""
_NAMED_BY = ("name", "uri", "taskId")


async def serve_stdio(target: Target) -> ExitCode:
    """Until standard input ends. Raises CommandFailed: no server can be reached or started, or its door is closed."""
    async with reach(target) as found, _http(found) as http:
        await _check(http)
        await _pass_on(http)
    return ExitCode.OK


def _http(found: Reached) -> httpx2.AsyncClient:
    if found.url.startswith(UNIX):
        url, inner = "http://localhost", httpx2.AsyncHTTPTransport(uds=found.url.removeprefix(UNIX))
    else:
        url, inner = normal_url(found.url), httpx2.AsyncHTTPTransport()
    return httpx2.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {found.token}"} if found.token else {},
        timeout=httpx2.Timeout(10.0, read=SILENCE_SECONDS),
        transport=LastingTransport(inner),
    )


async def _check(http: httpx2.AsyncClient) -> None:
    """A request that is no message: 406 says that the door is there."""
    response = await http.post("/mcp", headers={MCP_PROTOCOL_VERSION_HEADER: types.LATEST_PROTOCOL_VERSION}, content="")
    if response.status_code == 404:
        raise CommandFailed(
            "The server offers no agents to MCP clients (compat.mcp.enabled).", code=ExitCode.REFUSED, reason="mcp_off"
        )
    if response.status_code in (401, 403, 421):
        error = response.json()["error"]
        raise CommandFailed(error["message"], code=ExitCode.REFUSED, reason=error["reason"])


async def _pass_on(http: httpx2.AsyncClient) -> None:
    async with (
        stdio_server(await standard_input()) as (from_client, to_client),
        from_client,
        to_client,
        streamable_http_client(f"{http.base_url}/mcp", http_client=http) as (from_server, to_server),
    ):

        async def answer() -> None:
            async for message in from_server:
                if isinstance(message, SessionMessage):
                    await to_client.send(message)

        answers = asyncio.create_task(answer(), name="answers")
        try:
            async for message in from_client:
                if isinstance(message, SessionMessage):
                    await to_server.send(_addressed(message))
                else:
                    await to_client.send(_unreadable(message))
        finally:
            answers.cancel()


def _addressed(message: SessionMessage) -> SessionMessage:
    """With the headers that a request of protocol 2026-07-28 has over HTTP; a message of older ones has none."""
    request = message.message
    params = request.params if isinstance(request, types.JSONRPCRequest) else None
    meta = (params or {}).get("_meta")
    version = meta.get(types.PROTOCOL_VERSION_META_KEY) if isinstance(meta, Mapping) else None
    if not isinstance(request, types.JSONRPCRequest) or not isinstance(version, str):
        return message
    headers = {MCP_PROTOCOL_VERSION_HEADER: version, MCP_METHOD_HEADER: request.method}
    name: Any = next((params[key] for key in _NAMED_BY if params and isinstance(params.get(key), str)), None)
    if name is not None:
        headers[MCP_NAME_HEADER] = encode_header_value(name)
    return SessionMessage(request, metadata=ClientMessageMetadata(headers=headers))


def _unreadable(problem: Exception) -> SessionMessage:
    error = types.ErrorData(code=types.PARSE_ERROR, message=f"This line is no message: {type(problem).__name__}")
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=error))
