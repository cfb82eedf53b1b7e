"""A stream ends when the key is revoked that it was opened with: its door is told that the client has left."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Message, Receive, Scope


def is_stream(scope: Scope) -> bool:
    """Whether the request may be open for long. Sockets look themselves."""
    path: str = scope["path"]
    return scope["type"] == "http" and path.endswith("/stream")


def until_revoked(receive: Receive, revocation: asyncio.Future[None]) -> Receive:
    """`revocation` is done when the key is revoked; many requests share it."""

    async def receive_until_revoked() -> Message:
        incoming: asyncio.Future[Message] = asyncio.ensure_future(receive())
        try:
            waited: list[asyncio.Future[Any]] = [incoming, revocation]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return incoming.result() if incoming.done() else {"type": "http.disconnect"}
        finally:
            if not incoming.done():
                incoming.cancel()

    return receive_until_revoked
