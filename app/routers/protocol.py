"""HTTP/1.1 on one connection: uvicorn's protocol, with bounds on what a client may make the server keep or wait for.

A request line, headers and trailers have a size, a head and a body have a time, a connection has a number of requests
that may wait. What exceeds one of them is answered (408, 414, 431, or the connection closes behind the last answer) and
not kept. What a request costs that keeps the limits: a few attributes, and no timer if it arrives in one read.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

import httptools
from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.config.server import ServerConfig
from app.domain.errors import HectorError, InvalidRequest, TooLarge
from app.doors.errors import error_response
from app.routers.open_files import OpenFiles
from app.routers.websocket.protocol import SocketProtocol, wants_websocket

log = logging.getLogger(__name__)

LINGER_SECONDS = 2.0
"""How long a refused client may go on sending, so that it reads the answer and not a reset."""
LINGER_BYTES = 32 << 20
_CLOSE = b"connection: close\r\n\r\n"
OnRefusal = Callable[[int, str | None, str], None]
"""Told of a request that does not reach the application: status, client, request id."""
_HOP_BY_HOP = frozenset({b"upgrade", b"http2-settings"})


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `limits`: the `server` section; `files`: shared by all connections of a process."""

    def __init__(
        self,
        limits: ServerConfig,
        files: OpenFiles,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        on_refusal: OnRefusal | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._on_refusal = on_refusal
        self._limits = limits
        self._files = files
        self._head_seconds = limits.header_timeout.total_seconds()
        self._timer: asyncio.TimerHandle | None = None
        self._is_refused = False
        self._is_last = False
        """No further request on this connection: it holds one of the last files."""
        self._in_head = False
        self._is_complete = True
        """Every request that began has been received whole."""
        self._is_upgrade = False
        # Of the read that is being parsed.
        self._read_bytes = 0
        self._begun = 0
        self._had_body = False
        # Of the request that is being received.
        self._idle_bytes = 0
        """Bytes of an incomplete head, or since the last piece of a body: chunk sizes and trailers."""
        self._body_bytes = 0
        self._body_since = 0.0
        self._discarded = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._files.are_scarce(transport):
            self._is_last = True
            self._head_seconds = min(self._head_seconds, LINGER_SECONDS)
            self.app = self._files.without_turns(self.app)
        self._timer = self.loop.call_later(self._head_seconds, self._time_out)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    # -- receiving ------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        was_complete = self._is_complete
        self._read_bytes = len(data)
        self._begun = 0
        self._had_body = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(_refusal_of(error))
            return
        if not self._is_complete:
            self._wait_for_rest(was_complete)

    def _wait_for_rest(self, was_complete: bool) -> None:
        """After a read that has not completed a request."""
        if self._begun:
            # The size of a head that begins behind other requests is not known; it counts from the next read.
            self._idle_bytes = self._read_bytes if was_complete and self._begun == 1 else 0
        elif self._had_body:
            self._idle_bytes = 0
        else:
            self._idle_bytes += self._read_bytes
        if self._in_head:
            if self._idle_bytes > self._limits.max_header:
                self._refuse(self._too_long())
                return
            seconds = self._head_seconds
        else:
            self._body_bytes += self._read_bytes
            if self._idle_bytes > self._limits.max_header and not self._had_body and not self._begun:
                self._refuse(_headers_too_large(self._limits.max_header))
                return
            seconds = self._limits.body_timeout.total_seconds()
            if self._timer is None:
                self._body_since, self._body_bytes = self.loop.time(), 0
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._time_out)

    def on_message_begin(self) -> None:
        self._begun += 1
        self._in_head = True
        self._is_complete = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: what was decided by the headers stays decided
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        limits = self._limits
        if self._timer is not None:
            self._stop_timer()
        if self._idle_bytes + self._read_bytes > limits.max_header:
            size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
            if size > limits.max_header:
                raise self._too_long()
        if len(self.url) > limits.max_url:
            raise _url_too_long(limits.max_url)
        if len(self.headers) > limits.max_headers:
            raise TooLarge(
                f"The request has more than {limits.max_headers} headers (server.max_headers).",
                reason="headers_too_large",
                details={"limit": limits.max_headers},
            )
        self._idle_bytes = 0
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise InvalidRequest("This server is no proxy.", reason="invalid_http")
            self._is_upgrade = True
            return  # see _upgrade
        if len(self.pipeline) >= limits.max_pipelined:
            raise TooLarge(f"More than {limits.max_pipelined} requests wait on this connection (server.max_pipelined).")
        super().on_headers_complete()
        self._in_head = False
        if self._is_last:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._had_body = True
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return
        self._is_complete = True
        if self._timer is not None:
            self._stop_timer()
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def _upgrade(self, rest: bytes) -> None:
        """Hand the connection to the WebSocket protocol, if that is what is asked for and nothing is asked before."""
        is_free = self.cycle is None or self.cycle.response_complete
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if self._is_last or not is_free or not wants_websocket(method, version, self.headers):
            self._ignore_upgrade(rest)
            return
        self.connections.discard(self)
        socket = SocketProtocol(self._limits, self.config, self.server_state, self.app_state)
        socket.connection_made(self.transport)
        self.transport.set_protocol(socket)
        socket.begin(self.url.decode("latin-1"), self.headers, rest)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request again without its wish for another protocol: the parser has given up its body for lost."""
        dropped = {b"upgrade", *(_HOP_BY_HOP & {name for name, _ in self.headers})}
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(
                    token.strip() for token in value.split(b",") if token.strip().lower() not in _HOP_BY_HOP
                )
            elif name in dropped:
                continue
            lines.append(name + b": " + value)
        self._is_upgrade = False
        self._is_complete = True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    # -- refusing -------------------------------------------------------------------------------

    def _time_out(self) -> None:
        self._timer = None
        if self._is_refused:
            self.transport.close()
        elif self._in_head:
            limit = self._head_seconds
            self._refuse(_timed_out(f"The headers did not arrive within {limit:g} s (server.header_timeout)."))
        elif self._is_complete:
            self.transport.close()  # nothing was sent, so there is nothing to answer
        elif (rest := self._body_seconds_left()) > 0:
            self._timer = self.loop.call_later(rest, self._time_out)
        else:
            self._refuse(_timed_out("The body arrived too slowly (server.body_timeout, server.min_body_rate)."))

    def _body_seconds_left(self) -> float:
        seconds = self._limits.body_timeout.total_seconds()
        if self.flow.read_paused:  # it is us who did not take it
            self._body_since, self._body_bytes = self.loop.time(), 0
        return self._body_since + seconds + self._body_bytes / self._limits.min_body_rate - self.loop.time()

    def _refuse(self, error: HectorError) -> None:
        """Answer with `error` when all that was asked before it is answered, and close the connection."""
        if self.transport.is_closing():
            return
        self._is_refused = True
        self._stop_timer()
        request_id = f"req_{secrets.token_hex(8)}"
        client = self.client[0] if self.client else "an unknown address"
        log.info("refused a request from %s: %s", client, error.reason, extra={"request_id": request_id})
        response = error_response(error, request_id)
        if self._on_refusal is not None:
            self._on_refusal(response.status_code, self.client[0] if self.client else None, request_id)
        cycle, is_in_body = self.cycle, not (self._in_head or self._is_complete)
        if not is_in_body:
            if cycle is None or cycle.response_complete:
                self._answer(response)
            else:
                cycle.keep_alive = False  # the last whole request: its answer is the connection's last
        elif self.pipeline and self.pipeline[0][0] is cycle:
            response.headers["connection"] = "close"
            self.pipeline[0] = (cycle, response)  # type: ignore[assignment]
        elif cycle.response_started:
            self.transport.close()
        else:
            self._answer(response)
            cycle.disconnected = True
            cycle.message_event.set()

    def _answer(self, response: Response) -> None:
        lines = [STATUS_LINE[response.status_code]]
        for name, value in [*self.server_state.default_headers, *response.raw_headers]:
            lines += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*lines, _CLOSE, bytes(response.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self._time_out)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self.transport.abort()

    def _too_long(self) -> TooLarge:
        return (
            _url_too_long(self._limits.max_url)
            if len(self.url) > self._limits.max_url
            else _headers_too_large(self._limits.max_header)
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _refusal_of(error: httptools.HttpParserError) -> HectorError:
    cause = error.__context__
    if isinstance(cause, HectorError):
        return cause
    if cause is not None and not isinstance(cause, httptools.HttpParserError | UnicodeError):
        log.error("a request could not be read by our fault", exc_info=cause)
    return InvalidRequest("This is not a request in HTTP/1.1.", reason="invalid_http")


def _url_too_long(limit: int) -> TooLarge:
    return TooLarge(
        f"The address is longer than {limit} bytes (server.max_url).", reason="url_too_long", details={"limit": limit}
    )


def _headers_too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The headers are larger than {limit} bytes (server.max_header).",
        reason="headers_too_large",
        details={"limit": limit},
    )


def _timed_out(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, reason="request_timeout")
