"""Refusing a WebSocket: by the status of its handshake, or behind it by an `error` frame and a close code.

A browser does not show its page the status of a handshake. So a page that may be here gets the code; a page that may
not, and a program that has no right, never get a socket.
"""

from __future__ import annotations

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.errors import (
    Forbidden,
    HectorError,
    Internal,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    SessionOver,
    Unauthenticated,
    Unavailable,
)
from app.doors.errors import error_json, error_response

NORMAL = 1000
NOT_ALLOWED = 1008
FAULT = 1011
RESTART = 1012
TRY_LATER = 1013
UNKNOWN = 4404
TERMINATED = 4410
_CODES: tuple[tuple[type[HectorError], int], ...] = (
    (Unauthenticated, NOT_ALLOWED),
    (Forbidden, NOT_ALLOWED),
    (NotFound, UNKNOWN),
    (SessionOver, TERMINATED),
    (QuotaExceeded, TRY_LATER),
    (Unavailable, TRY_LATER),
    (Internal, FAULT),
)
_BEFORE_THE_PAGE = frozenset({"forbidden_origin", "forbidden_host"})


def close_code(error: HectorError) -> int:
    """The code of a socket that is closed because of `error`."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), NOT_ALLOWED)


def error_frame(error: HectorError, request_id: str) -> dict[str, object]:
    return {"chunk": "", "type": "error", **error_json(error, request_id)}


def socket_refusal(error: HectorError, scope: Scope) -> ASGIApp:
    """The answer to a handshake that the guard refuses."""
    request_id = scope.get("request_id", "")
    is_page = any(name == b"origin" for name, _ in scope["headers"])
    if not is_page or error.reason in _BEFORE_THE_PAGE or isinstance(error, InvalidRequest):
        return error_response(error, request_id)

    async def accept_and_close(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send_refusal(send, error, request_id)

    return accept_and_close


async def send_refusal(send: Send, error: HectorError, request_id: str) -> None:
    """On an accepted socket."""
    await send({"type": "websocket.send", "text": orjson.dumps(error_frame(error, request_id)).decode()})
    await send({"type": "websocket.close", "code": close_code(error), "reason": error.reason})
