"""Development mode (`hector serve --dev`): streams that break on request, and a line in the log for each request.

Around the application, so that without the mode nothing of it is there.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config.units import parse_duration
from app.domain.errors import InvalidRequest
from app.doors.errors import error_response

log = logging.getLogger(__name__)

NOTICE = (
    "development mode: pages of this machine may call the server, ?chaos= breaks streams, every request is logged;"
    " not for production"
)
_HELP = "chaos: drop:20 (cut after 20 frames), stall:5s (one silence), slow:300 (ms before each frame), or several"
_STREAM = "/stream"
_BLOCK_END = b"\n\n"


class Development:
    """ASGI in front of everything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, noted = monotonic(), _Noted(send)
        try:
            await self._serve(scope, receive, noted.send)
        finally:
            spent = (monotonic() - began) * 1000
            log.info("%s %s %d, %.0f ms, %d bytes", scope["method"], _address(scope), noted.status, spent, noted.bytes)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        words = parse_qs(scope["query_string"].decode("latin-1")).get("chaos") if _is_stream(scope) else None
        if words is None:
            await self._app(scope, receive, send)
            return
        try:
            chaos = read_chaos(",".join(words))
        except InvalidRequest as error:
            await error_response(error, "")(scope, receive, send)
            return
        breaking = _Breaking(chaos, receive, send)
        await self._app(scope, breaking.receive, breaking.send)


@dataclass(frozen=True, slots=True)
class Chaos:
    """How a stream breaks. Frames with data count, heartbeats do not."""

    drop_after: int | None = None
    stall_seconds: float = 0.0
    slow_seconds: float = 0.0


def read_chaos(words: str) -> Chaos:
    """Raises InvalidRequest."""
    drop_after, stall, slow = None, 0.0, 0.0
    for word in words.split(","):
        name, _, amount = word.strip().partition(":")
        try:
            if name == "drop" and amount.isascii() and amount.isdigit():
                drop_after = int(amount)
            elif name == "stall":
                stall = parse_duration(amount).total_seconds()
            elif name == "slow":
                slow = parse_duration(f"{amount}ms" if amount.isdigit() else amount).total_seconds()
            else:
                raise InvalidRequest(_HELP)
        except ValueError:
            raise InvalidRequest(_HELP) from None
    return Chaos(drop_after, stall, slow)


class _Breaking:
    """A stream on its way out, one frame at a time."""

    def __init__(self, chaos: Chaos, receive: Receive, send: Send) -> None:
        self._chaos = chaos
        self._receive = receive
        self._send = send
        self._frames = 0
        self._has_stalled = False
        self._is_cut = asyncio.Event()

    async def receive(self) -> Message:
        """What the client sends; after the cut, that it is gone."""
        incoming = asyncio.ensure_future(self._receive())
        cut = asyncio.ensure_future(self._is_cut.wait())
        try:
            await asyncio.wait([incoming, cut], return_when=asyncio.FIRST_COMPLETED)
            return {"type": "http.disconnect"} if self._is_cut.is_set() else incoming.result()
        finally:
            cut.cancel()
            if not incoming.done():
                incoming.cancel()

    async def send(self, message: Message) -> None:
        """Frames after the cut go nowhere, and the stream gets no end: the server closes its connection."""
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        *blocks, rest = message.get("body", b"").split(_BLOCK_END)
        for block in blocks:
            await self._send_block(block + _BLOCK_END)
        if not self._is_cut.is_set():
            await self._send({**message, "body": rest})

    async def _send_block(self, block: bytes) -> None:
        if b"data:" in block:
            if self._frames == self._chaos.drop_after:
                self._is_cut.set()
                log.info("chaos: a stream was cut after %d frames", self._frames)
            elif self._chaos.slow_seconds:
                await asyncio.sleep(self._chaos.slow_seconds)
            if self._frames and self._chaos.stall_seconds and not self._has_stalled:
                self._has_stalled = True
                await asyncio.sleep(self._chaos.stall_seconds)
            self._frames += 1
        if not self._is_cut.is_set():
            await self._send({"type": "http.response.body", "body": block, "more_body": True})


class _Noted:
    """What went out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.bytes = 0

    async def send(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.bytes += len(message.get("body", b""))
        await self._send(message)


def _is_stream(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.rstrip("/").endswith(_STREAM)


def _address(scope: dict[str, Any] | Any) -> str:
    """As it was sent, in ASCII and without tickets."""
    query = "&".join([part for part in scope["query_string"].decode("latin-1").split("&") if "ticket" not in part])
    path = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
    return ascii(f"{path}?{query}" if query else path)[1:-1]
