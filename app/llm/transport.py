"""The HTTP below the openai client: aiohttp, with its response within reach of the code that reads the stream.

Two shortcuts against the usual httpx2 client, both through its public methods. The transport puts the
aiohttp response into `response.extensions`, so that reads go to the socket's buffer without generators in
between. The client hands a ready request straight to the transport: no cookies, redirects, auth flows or
event hooks, which the openai client does not need from it (90 us of CPU a request).
"""

from __future__ import annotations

import importlib
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import httpx2

from app.domain.errors import Unavailable
from app.llm.proxies import Proxies, place_of
from app.llm.unpack import readable

# Where `httpx` is among the loaded modules, the openai client compares with its classes at every request. While another
# thread imports it, as A2A or a user's function may at any time, they are not there yet, and turns would fail.
with suppress(ImportError):
    importlib.import_module("httpx")

RESPONSE = "aiohttp_response"
"""Key in `extensions` of the `aiohttp.ClientResponse` of a successful answer."""

MAX_ERROR_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Of an answer that is read whole, unpacked. Streams have a limit of their own."""

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_KEEPALIVE_SECONDS = 300.0
_CONTENT = "content"


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Requests by aiohttp over TCP, or over the UNIX socket `uds`.

    As many connections as are asked for; an idle one is kept for five minutes. `connect_timeout` (seconds)
    covers name, connection and TLS; there is no timer on reading, the stream has its own. Proxies are taken
    from the environment once, at the first request. `secure` loads the certificates now: later, those
    30 ms would block the loop.
    Bodies arrive as they were sent: what was compressed unasked is opened by `unpack`, piece by piece.
    """

    def __init__(self, *, connect_timeout: float | None = None, uds: str | None = None, secure: bool = True) -> None:
        self._ssl = _load_certificates() if secure and uds is None else True
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
        self._uds = uds
        self._session: aiohttp.ClientSession | None = None
        self._proxies = Proxies({})

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        content = request.extensions.get(_CONTENT)
        if content is None:
            content = await request.aread()
        url = str(request.url)
        session = self._session or self._open()
        proxy = self._proxies.proxy_for(request.url) if self._proxies.are_set else None
        try:
            response = await session.request(
                request.method,
                url,
                headers=request.headers.multi_items(),
                data=content or None,
                allow_redirects=False,
                proxy=proxy,
            )
        except (aiohttp.ClientError, OSError) as exc:
            raise _translated(exc, request) from exc
        headers = response.raw_headers
        if "content-encoding" in response.headers:  # undone before httpx2 sees the body
            headers = tuple(pair for pair in headers if pair[0].lower() != b"content-encoding")
        if response.status < 300:
            return httpx2.Response(
                response.status,
                headers=headers,
                stream=_Body(response),
                request=request,
                extensions={RESPONSE: response},
            )
        return httpx2.Response(response.status, headers=headers, content=await _error_body(response), request=request)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if self._uds is not None:
            connector = aiohttp.UnixConnector(self._uds, limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        else:
            self._proxies = Proxies.of_environment()
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=self._ssl)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )
        return self._session

    def proxy_of(self, url: str) -> str | None:
        """The proxy that leads to `url`, without its password; `None` where the way is direct."""
        try:
            proxy = self._proxies.proxy_for(httpx2.URL(url))
        except httpx2.UnsupportedProtocol:
            return None  # its error names it
        return place_of(proxy) if proxy else None


def check_certificates() -> None:
    """Raises Unavailable: a file of certificates that the environment names cannot be read. Loads nothing."""
    for variable in _CERTIFICATES:
        path = os.environ.get(variable)
        if path and not os.access(path, os.R_OK):
            reason = "cannot be read" if os.path.exists(path) else "does not exist"
            raise Unavailable(f"{variable} names {path!r}, which {reason}; mend it or unset it.")


def _load_certificates() -> ssl.SSLContext:
    """Raises Unavailable, too."""
    check_certificates()
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        named = ", ".join([variable for variable in _CERTIFICATES if os.environ.get(variable)]) or "the system"
        raise Unavailable(f"The certificates of {named} cannot be loaded: {error}") from error


class LeanClient(httpx2.AsyncClient):
    """An httpx2 client for use below the openai client: what that one prepared goes out as it is."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        super().__init__(transport=transport, trust_env=False)
        self._direct = transport
        self._urls: dict[str, httpx2.URL] = {}

    def build_request(self, method: str, url: httpx2.URL | str, **given: Any) -> httpx2.Request:
        content = given.get("content")
        if type(url) is not str or type(content) is not bytes or given.get("files") or given.get("params"):
            return super().build_request(method, url, **given)
        parsed = self._urls.get(url)
        if parsed is None:
            parsed = self._urls[url] = httpx2.URL(url)
        return httpx2.Request(
            method,
            parsed,
            headers=given.get("headers"),
            stream=httpx2.ByteStream(content),
            extensions={_CONTENT: content},
        )

    async def send(self, request: httpx2.Request, *, stream: bool = False, **_: Any) -> httpx2.Response:
        response = await self._direct.handle_async_request(request)
        if not stream:
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            content = readable(self._response)
            while block := await content.readany():
                size += len(block)
                if size > MAX_BODY_BYTES:
                    raise httpx2.ReadError(f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB")
                yield block
        except (aiohttp.ClientError, OSError) as exc:
            raise httpx2.ReadError(str(exc)) from exc

    async def aclose(self) -> None:
        self._response.close()  # does nothing once the body was read to its end


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    try:
        content = readable(response)
        while len(body) < MAX_ERROR_BYTES and (block := await content.readany()):
            body += block
    except (aiohttp.ClientError, OSError):
        pass  # the status says enough
    finally:
        response.close()
    return bytes(body[:MAX_ERROR_BYTES])


def _translated(exc: Exception, request: httpx2.Request) -> httpx2.TransportError:
    kind: type[httpx2.TransportError] = httpx2.NetworkError
    if isinstance(exc, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        kind = httpx2.ProxyError
    elif isinstance(exc, aiohttp.ConnectionTimeoutError):
        kind = httpx2.ConnectTimeout
    elif isinstance(exc, aiohttp.ClientConnectorError):
        kind = httpx2.ConnectError
    elif isinstance(exc, aiohttp.ServerDisconnectedError):
        kind = httpx2.RemoteProtocolError
    elif isinstance(exc, aiohttp.InvalidURL):
        kind = httpx2.UnsupportedProtocol
    return kind(str(exc) or type(exc).__name__, request=request)
