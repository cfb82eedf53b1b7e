"""Webhook: an address that is told of events, what it wants to be told, and the secrets that sign it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

WebhookEvent = Literal[
    "turn_queued",
    "turn_started",
    "turn_finished",
    "waiting",
    "resumed",
    "approval_request",
    "approval_decided",
    "budget",
    "session_ended",
    "session_terminated",
]
EVENTS: tuple[WebhookEvent, ...] = get_args(WebhookEvent)
"""What an address can be told of; the names are those of the events in a stream."""
USUAL_EVENTS: tuple[WebhookEvent, ...] = ("turn_finished", "waiting", "session_ended", "session_terminated")

_PREFIX = "whsec_"
_LEAST, _MOST = 24, 64


@dataclass(frozen=True, slots=True)
class Webhook:
    """`secrets`: each signs, the first is the newest. `agents`: `None` for all."""

    url: str
    secrets: tuple[str, ...]
    events: tuple[WebhookEvent, ...] = USUAL_EVENTS
    agents: tuple[str, ...] | None = None
    includes_text: bool = False

    def wants(self, event: str, agent: str) -> bool:
        return event in self.events and (self.agents is None or agent in self.agents)

    def to_json(self) -> dict[str, object]:
        """As the database has it. Webhooks of a session have no `agents`."""
        return {
            "url": self.url,
            "secrets": self.secrets,
            "events": self.events,
            "includes_text": self.includes_text,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Webhook:
        return cls(
            stored["url"], tuple(stored["secrets"]), tuple(stored["events"]), None, bool(stored["includes_text"])
        )


def key_of(secret: str) -> bytes:
    """The bytes that sign: 24 to 64, in base64 after `whsec_` (Standard Webhooks, "Signature scheme").

    Raises:
        ValueError: it is no such secret. The text never quotes it.
    """
    form = f"must be {_PREFIX} and the base64 of {_LEAST} to {_MOST} bytes: echo {_PREFIX}$(openssl rand -base64 32)"
    encoded = secret.removeprefix(_PREFIX)
    if encoded == secret:
        raise ValueError(form)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(form) from None
    if not _LEAST <= len(key) <= _MOST:
        raise ValueError(form)
    return key


def secret_of(key: bytes) -> str:
    """The text of a secret."""
    return _PREFIX + base64.b64encode(key).decode()
