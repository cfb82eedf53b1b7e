"""The HTTP below `hector mcp`: a server that is away for a while fails requests, not the command.

A client on standard input says `initialize` once, for the life of the command. A server that has been started anew does
not know its connection any more (404): it is made again, and the request goes on over the new one.
"""

from __future__ import annotations

import asyncio
import json

import httpx2

SESSION = "mcp-session-id"


class LastingTransport(httpx2.AsyncBaseTransport):
    """Around `inner`. Of protocol 2026-07-28 every request stands alone: nothing has to be made again."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner
        self._greeting: httpx2.Request | None = None
        """The client's `initialize`, as it was sent."""
        self._session: str | None = None
        self._lock = asyncio.Lock()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._carried(request)
        except httpx2.TransportError as error:
            return _failed(request, str(error) or type(error).__name__)

    async def _carried(self, request: httpx2.Request) -> httpx2.Response:
        if SESSION not in request.headers:
            response = await self._inner.handle_async_request(request)
            if SESSION in response.headers:
                self._greeting, self._session = request, response.headers[SESSION]
            return response
        used = self._session
        response = await self._send(request)
        if response.status_code != 404 or self._greeting is None or request.method == "DELETE":
            return response
        await response.aclose()
        async with self._lock:
            if self._session == used:
                await self._greet_again(self._greeting)
        return await self._send(request)

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        if self._session is not None:
            request.headers[SESSION] = self._session
        return await self._inner.handle_async_request(request)

    async def _greet_again(self, greeting: httpx2.Request) -> None:
        response = await self._inner.handle_async_request(greeting)
        await response.aread()
        if SESSION not in response.headers:
            return
        self._session = response.headers[SESSION]
        headers = {**greeting.headers, SESSION: self._session}
        del headers["content-length"]
        done = httpx2.Request(
            "POST", greeting.url, headers=headers, json={"jsonrpc": "2.0", "method": "notifications/initialized"}
        )
        response = await self._inner.handle_async_request(done)
        await response.aclose()

    async def aclose(self) -> None:
        await self._inner.aclose()


def _failed(request: httpx2.Request, problem: str) -> httpx2.Response:
    """What the SDK takes for the server's own answer to the request."""
    error = {"code": -32000, "message": f"The server does not answer: {problem}"}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    return httpx2.Response(503, headers={"content-type": "application/json"}, content=body, request=request)
