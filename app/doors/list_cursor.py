"""Cursor of a list of sessions: an opaque word for the last one of a page."""

from __future__ import annotations

import base64
import binascii

import orjson

from app.domain.errors import InvalidRequest


def write_cursor(order: str, time_ms: int, session_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([order, time_ms, session_id])).decode().rstrip("=")


def read_cursor(cursor: str | None, order: str) -> tuple[int, str] | None:
    """(milliseconds, session id) of the cursor. Raises InvalidRequest: no list in this order gave it out."""
    if cursor is None:
        return None
    try:
        made_for, time_ms, session_id = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        is_ours = made_for == order and isinstance(time_ms, int) and isinstance(session_id, str)
        if is_ours and 0 <= time_ms < 2**63 and "\0" not in session_id:
            return time_ms, session_id
    except (ValueError, TypeError, binascii.Error):
        pass
    raise InvalidRequest("cursor is not one this list gave out (with the same order).")
