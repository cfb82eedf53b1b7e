"""A server behind an address: streamable HTTP.

Between the SDK and the network stands a transport of ours. Without it a server that cannot be reached ends the SDK's
tasks, and with them every other call; here it becomes an answer that tells a request that was never sent from one whose
answer was lost. It also bounds what one answer may hold.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from app.llm.proxies import Proxies
from app.tools.mcp.faults import LOST, NOT_SENT

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 30.0
FAREWELL_SECONDS = 2.0
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_OF_THE_WIRE = {"content-encoding", "content-length", "transfer-encoding"}


@asynccontextmanager
async def http_streams(
    url: str, headers: Mapping[str, str], *, max_message_bytes: int, on_lost: Callable[[str], None]
) -> AsyncIterator[Any]:
    """Open the transport of the SDK over a guarded client. `on_lost` may be called several times.

    Raises:
        httpx2.UnsupportedProtocol: the environment names a proxy that we cannot use.
    """
    proxy = Proxies.of_environment().proxy_for(httpx2.URL(url))
    # In a thread: it loads the certificates.
    inner = await asyncio.to_thread(httpx2.AsyncHTTPTransport, proxy=proxy, limits=httpx2.Limits())
    guarded = GuardedTransport(inner, max_message_bytes=max_message_bytes, on_lost=on_lost)
    # No limit on silence: a call has its own, and a stream of notifications is silent for hours.
    timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
    async with (
        httpx2.AsyncClient(transport=guarded, headers=dict(headers), timeout=timeout) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=max_message_bytes) as streams,
    ):
        yield streams


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Turns failures of the network into JSON-RPC errors with codes of our own; `on_lost` is told as well."""

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, *, max_message_bytes: int, on_lost: Callable[[str], None]
    ) -> None:
        self._inner = inner
        self._max_bytes = max_message_bytes
        self._on_lost = on_lost

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE":  # the farewell to a session; the SDK waits for its answer
            request.extensions = {**request.extensions, "timeout": httpx2.Timeout(FAREWELL_SECONDS).as_dict()}
        try:
            response = await self._inner.handle_async_request(request)
        except _NEVER_SENT as error:
            return self._failed(request, NOT_SENT, f"cannot be reached: {_words(error)}")
        except httpx2.TransportError as error:
            return self._failed(request, LOST, f"broke the connection: {_words(error)}")
        if request.method != "POST" or _is_stream(response):
            return response
        return await self._whole(request, response)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _whole(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """An answer that is one document, read here, within bounds."""
        body = bytearray()
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._max_bytes:
                    return _error(request, LOST, f"answered with more than {self._max_bytes} bytes")
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return self._failed(request, LOST, f"broke the connection: {_words(error)}")
        finally:
            await response.aclose()
        return self._judged(request, response, bytes(body))

    def _judged(self, request: httpx2.Request, response: httpx2.Response, body: bytes) -> httpx2.Response:
        status = response.status_code
        if "mcp-session-id" in request.headers and (status == 404 or (status == 400 and not _is_answer(body))):
            # It has not looked at the request: with a new session it can be sent again. 404 is the protocol's word;
            # others say 400, in an error that belongs to no request.
            return self._failed(request, NOT_SENT, "does not know our session any more")
        if status >= 500 and not _is_jsonrpc_error(body):
            return _error(request, LOST, f"answered with status {status}")
        if status in (401, 403):
            return _error(request, -status, f"refuses our credentials (status {status}): check its `headers`")
        if status >= 400 and not _is_jsonrpc_error(body):
            return _error(request, -status, f"refuses the request with status {status}", status=status)
        headers = {name: value for name, value in response.headers.items() if name.lower() not in _OF_THE_WIRE}
        return httpx2.Response(status, headers=headers, content=body, request=request)

    def _failed(self, request: httpx2.Request, code: int, message: str) -> httpx2.Response:
        self._on_lost(message)
        return _error(request, code, message)


def _error(request: httpx2.Request, code: int, message: str, *, status: int = 500) -> httpx2.Response:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return httpx2.Response(status, json=error, request=request)


def _is_stream(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("text/event-stream")


def _is_jsonrpc_error(body: bytes) -> bool:
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(found.get("error"), dict)


def _is_answer(body: bytes) -> bool:
    """Whether an error says which request it belongs to."""
    return _is_jsonrpc_error(body) and json.loads(body).get("id") is not None


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
