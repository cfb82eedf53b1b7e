"""Payload: what an address is told of an event, and how that is signed (Standard Webhooks 1.0)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from app.domain.clock import iso
from app.domain.webhook import key_of
from app.storage import outbox
from app.storage.connection import Connection
from app.storage.engine.database import Database
from app.storage.outbox import Delivery

_FIELDS: Mapping[str, Sequence[str]] = {
    "turn_queued": ("turn_id", "message_id"),
    "turn_started": ("turn_id", "message_id"),
    "turn_finished": (
        "turn_id",
        "message_id",
        "status",
        "reason",
        "finish_reason",
        "usage",
        "timings",
    ),
    "waiting": ("turn_id", "waiting_for", "call_id", "expires_at"),
    "resumed": ("turn_id", "call_id"),
    "approval_request": ("turn_id", "call_id", "name", "expires_at"),
    "approval_decided": ("turn_id", "call_id", "approved", "edited"),
    "budget": ("turn_id", "kind", "used", "limit", "action"),
    "session_ended": ("reason",),
    "session_terminated": (),
}
"""What is told of each event besides agent, session and user: nothing that anybody wrote."""
_FRAME = frozenset({"chunk", "type", "session_id"})
_TEXTS = {"turn_queued": "message", "turn_started": "message", "turn_finished": "text"}
"""Where the text of the event's message goes, with `include: text`."""


def fields_of(kind: str, frame: bytes) -> dict[str, Any]:
    """What a row of the outbox keeps of the frame of an event."""
    found = orjson.loads(frame)
    return {name: found[name] for name in _FIELDS[kind] if found.get(name) is not None}


async def make_body(database: Database, delivery: Delivery, *, has_text: bool) -> bytes:
    """The request's body. What was erased since the event is `null`.

    Raises:
        Unavailable: the database did not answer.
    """
    added = await database.read(partial(_read_rest, delivery=delivery, has_text=has_text))
    data = {"agent": delivery.agent, "session_id": delivery.session_id, **added, **delivery.data}
    return orjson.dumps({"type": delivery.kind, "timestamp": iso(delivery.created_ms), "data": data})


def _read_rest(connection: Connection, *, delivery: Delivery, has_text: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"user_id": outbox.user_of(connection, delivery.session_id)}
    if delivery.kind == "turn_finished":
        found["agent_version"] = outbox.version_of(connection, delivery.session_id, delivery.data["turn_id"])
    if not delivery.includes_text:
        return found
    if has_text:
        fact = outbox.find_fact(connection, delivery.session_id, delivery.seq)
        found |= {name: value for name, value in fact.items() if name not in _FRAME}
    if (place := _TEXTS.get(delivery.kind)) is not None:
        message_id = delivery.data.get("message_id")
        session_id = delivery.session_id
        found[place] = outbox.find_text(connection, session_id, message_id) if has_text and message_id else None
    return found


def headers_of(delivery_id: str, secrets: Sequence[str], body: bytes, *, now_ms: int) -> dict[str, str]:
    """The headers of one attempt: one signature for each secret, so that a receiver may know the old or the new."""
    seconds = str(now_ms // 1000)
    signed = b".".join((delivery_id.encode(), seconds.encode(), body))
    digests = [hmac.digest(key_of(secret), signed, hashlib.sha256) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "hector",
        "webhook-id": delivery_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join([f"v1,{base64.b64encode(digest).decode()}" for digest in digests]),
    }
