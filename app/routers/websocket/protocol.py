"""The WebSocket protocol on one connection: uvicorn's, behind a handshake that `routers/protocol.py` has read.

Four departures from uvicorn's: ready bytes of several messages leave in one write; a shutdown is left to the
application, which has something to say first; a pong is not queued for a client that reads nothing; a slow reader,
whose pong waits behind text, is not taken for a dead one.
"""

from __future__ import annotations

import fcntl
import logging
import struct
import termios
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol

from app.config.server import ServerConfig

FRAMES = "hector.websocket.frames"
"""Type of an ASGI message: `frames` holds encoded WebSocket messages (see frames.py), written as they are."""
LEAVE_SECONDS = 3.0
"""How long a connection may take to close at shutdown; below the time that uvicorn gives all connections together."""
UNREAD_BYTES = 4096
"""Output that the client's system has not acknowledged, from which on its pong is not waited for."""

_quiet = logging.getLogger("uvicorn.error.websocket")
_quiet.setLevel(logging.WARNING)  # at debug the library would write addresses, with tickets in them, and texts


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection. The handshake is handed to `begin`; `data_received` gets only what comes behind it."""

    def __init__(
        self, limits: ServerConfig, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.logger = _quiet
        self.conn = ServerProtocol(max_size=limits.max_body, logger=_quiet)
        self.ping_interval = limits.ping_interval.total_seconds()
        self.ping_timeout = limits.ping_timeout.total_seconds()

    def begin(self, path: str, headers: list[tuple[bytes, bytes]], rest: bytes) -> None:
        """Start with a GET whose headers ask for a WebSocket; `rest` was received behind it."""
        # The library begins by reading a request of its own, with bounds of its own: it is given a short one.
        self.conn.receive_data(b"GET / HTTP/1.1\r\n\r\n")
        self.conn.events_received()
        found = Headers()
        for name, value in headers:
            found[name.decode("latin-1")] = value.decode("latin-1")
        self.handle_connect(Request(path, found))
        if rest and not self.transport.is_closing():
            self.data_received(rest)

    async def send(self, message: Any) -> None:
        if message["type"] != FRAMES:
            await super().send(message)
            return
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected or self.close_sent or self.transport.is_closing():
            raise ClientDisconnected
        self.transport.write(message["frames"])

    def shutdown(self) -> None:
        """Leave the closing to the application; abort the connection if the client does not let it go in time."""
        if self.handshake_complete:
            self.loop.call_later(LEAVE_SECONDS, self.transport.abort)
        else:
            super().shutdown()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # the client reads nothing: its pong is dropped, not kept

    def keepalive_timeout(self) -> None:
        if self._unread_bytes() > UNREAD_BYTES:
            assert self.ping_timeout is not None
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    def _unread_bytes(self) -> int:
        """Bytes of output that the client's system has not acknowledged yet."""
        waiting = self.transport.get_write_buffer_size()
        socket = self.transport.get_extra_info("socket")
        try:
            answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
        except (OSError, AttributeError):
            return waiting
        return waiting + int(struct.unpack("i", answer)[0])


def wants_websocket(method: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request whose headers ask for another protocol asks for this one; else it is served as it is."""
    values: dict[bytes, bytes] = dict(headers)
    return (
        method == b"GET"
        and version == "1.1"
        and values.get(b"upgrade", b"").lower() == b"websocket"
        and b"sec-websocket-key" in values
        and b"transfer-encoding" not in values
        and values.get(b"content-length", b"0") == b"0"
    )
