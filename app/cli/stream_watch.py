"""One event stream, watched byte by byte: when its first bytes came, what a silence did, what was held back.

Its session has no turn, so no model is asked: the stream is the comment that each begins with, heartbeats, and the
event that the session has ended. Here alone the command line speaks HTTP itself: a client that understands the stream
would not show what a proxy makes of it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx2

from app.conversation.readers import TICK_SECONDS

FIRST_SECONDS = 3.0
"""A server sends the first bytes at once; what has not come after so long is held back."""
END_SECONDS = 5.0
"""How long the rest may take, once the session has ended."""
SLACK_SECONDS = 1.5
"""More than a heartbeat may take, for a busy machine and a long way."""
IDENTITY, COMPRESSED = "identity", "gzip"
"""Every proxy that compresses knows gzip."""
EVENT_STREAM = "text/event-stream"


@dataclass(slots=True)
class Watched:
    """What was seen. Seconds count from the request, those of the cut from the last bytes before it."""

    problem: str | None = None
    """Why there is no answer."""
    status: int = 0
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    body: bytes = b""
    """Of an answer that is no stream; its beginning."""
    first_seconds: float | None = None
    """`None`: nothing came before the session ended."""
    beat_seconds: float | None = None
    """When the first silence ended; `None` if it did not, or was not waited for."""
    cut_seconds: float | None = None
    """The silence after which the connection was closed, though the session went on."""
    is_late: bool = False
    """Something that the server had sent came only when the session had ended, or did not come at all."""

    @property
    def is_stream(self) -> bool:
        return self.status == 200 and self.headers.get("content-type", "").startswith(EVENT_STREAM)


async def watch(
    url: str,
    *,
    token: str | None,
    accept_encoding: str = IDENTITY,
    heartbeat_seconds: float | None = None,
    end: Callable[[], Awaitable[object]],
) -> Watched:
    """Follow the stream at `url`, and end its session by `end` when enough was seen.

    `heartbeat_seconds`: wait for a heartbeat, which the server sends after so long; `None`: only for the first bytes.
    """
    headers = {"Accept": EVENT_STREAM, "Accept-Encoding": accept_encoding}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    line = _Line(url, headers)
    reading = asyncio.create_task(line.read(), name="watch of a stream")
    try:
        await _judge(line, heartbeat_seconds, end)
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
    return line.seen


async def _judge(line: _Line, heartbeat_seconds: float | None, end: Callable[[], Awaitable[object]]) -> None:
    seen = line.seen
    await line.until(lambda: bool(line.arrivals) or line.is_over, FIRST_SECONDS)
    if not line.arrivals:
        if line.is_over:
            await end()
            return
        await end()
        await line.until(lambda: bool(line.arrivals) or line.is_over, END_SECONDS)
        seen.is_late = True
        return
    seen.first_seconds = line.arrivals[0] - line.began
    if heartbeat_seconds is not None:
        known = len(line.arrivals)
        longest = heartbeat_seconds + TICK_SECONDS + SLACK_SECONDS
        await line.until(lambda: len(line.arrivals) > known or line.is_over, longest)
        if len(line.arrivals) > known:
            seen.beat_seconds = line.arrivals[known] - line.began
        elif line.is_over:
            seen.cut_seconds = line.now() - line.arrivals[-1]
        else:
            seen.is_late = True
    await end()
    if seen.cut_seconds is None:
        await line.until(lambda: line.is_over, END_SECONDS)


class _Line:
    """The connection."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.seen = Watched()
        self.arrivals: list[float] = []
        self.is_over = False
        self.now = time.monotonic
        self.began = self.now()
        self._url = url
        self._headers = headers
        self._news = asyncio.Event()

    async def read(self) -> None:
        try:
            await self._read()
        except (httpx2.HTTPError, OSError, ssl.SSLError) as error:
            if self.seen.status == 0:
                self.seen.problem = str(error) or type(error).__name__
        finally:
            self.is_over = True
            self._news.set()

    async def _read(self) -> None:
        timeout = httpx2.Timeout(None, connect=FIRST_SECONDS)
        client = httpx2.AsyncClient(timeout=timeout, trust_env=False)
        self.began = self.now()  # the client took its time to load certificates
        async with client, client.stream("GET", self._url, headers=self._headers) as response:
            self.seen.status, self.seen.headers = response.status_code, response.headers
            if not self.seen.is_stream:
                self.seen.body = (await response.aread())[:2000]
                return
            async for text in response.aiter_bytes():  # decoded: the head of a compressed stream is no text of it
                if text:
                    self.arrivals.append(self.now())
                    self._news.set()

    async def until(self, is_so: Callable[[], bool], seconds: float) -> None:
        """Return when it is so, and after `seconds` at the latest."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
