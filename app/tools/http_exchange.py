"""One request and its answer: connected to an address that was checked, of bounded size, nothing followed."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.tools.addresses import Address, Target
from app.tools.http_body import decompress

_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: at most the limit. `end`: `whole`, or why it is not: `size`, `lost`, `time`, an unknown compression."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    end: str

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


@dataclass(slots=True)
class Exchange:
    """A request to a target. `was_sent`: there was a connection, so it may have arrived."""

    method: str
    target: Target
    addresses: Sequence[Address]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    was_sent: bool = False
    answer: Answer | None = None
    """As soon as its head is there; replaced when the body is."""

    async def carry_out(self, *, max_bytes: int, tls: ssl.SSLContext | bool) -> Answer:
        """Send it and read the answer.

        Raises:
            aiohttp.ClientError, OSError: no answer came; `was_sent` says how far it got.
        """
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(self.target.host, self.addresses), use_dns_cache=False, force_close=True, ssl=tls
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # proxies and .netrc of our environment are no business of a model's
                timeout=aiohttp.ClientTimeout(total=None),
                trace_configs=[self._trace()],
                skip_auto_headers=("User-Agent",),
            ) as session,
            session.request(
                self.method, self.target.url, headers=self.headers, data=self.body, allow_redirects=False
            ) as response,
        ):
            body = bytearray()
            end = "time"  # unless something else ends it
            try:
                self.answer = _answer(response, body, end, max_bytes)
                end = await _read(response, body, max_bytes)
            finally:
                self.answer = _answer(response, body, end, max_bytes)
        return self.answer

    def _trace(self) -> aiohttp.TraceConfig:
        async def connected(*_: Any) -> None:
            self.was_sent = True

        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(connected)
        return trace


async def _read(response: aiohttp.ClientResponse, body: bytearray, max_bytes: int) -> str:
    """Read the body; how it ended: `whole`, `size` or `lost`."""
    try:
        while chunk := await response.content.read(_CHUNK):
            body += chunk
            if len(body) > max_bytes:
                return "size"
    except (aiohttp.ClientError, OSError):
        return "lost"
    return "whole"


def _answer(response: aiohttp.ClientResponse, body: bytearray, end: str, max_bytes: int) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    encoding = headers.get("content-encoding", "").strip().lower()
    whole: bytes | None = bytes(body[: max_bytes + 1])
    if encoding not in ("", "identity"):
        whole = decompress(bytes(body), encoding, max_bytes)
    if whole is None:
        whole, end = b"", f"compressed as {encoding[:40]!r}"
    if len(whole) > max_bytes:
        end = "size"
    return Answer(response.status, response.reason or "", headers, whole[:max_bytes], end)


class _Pinned(AbstractResolver):
    """Knows one host, and the addresses that were checked: whoever answers for the name later is not asked."""

    def __init__(self, host: str, addresses: Sequence[Address]) -> None:
        self._host = host
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host != self._host:
            raise OSError(f"{host} was not checked")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if isinstance(address, ipaddress.IPv6Address) else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass
