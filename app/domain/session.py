"""Session: one continuous conversation and its status: active, then ended, expired or terminated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.domain.webhook import Webhook


class SessionStatus(StrEnum):
    ACTIVE = "active"
    ENDED = "ended"
    EXPIRED = "expired"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored. Times are milliseconds since the epoch.

    `ending` is the status the session gets once no turn is open; new messages are refused meanwhile.
    `reserved_seq` is the highest event number that may be used without reserving more in the database;
    `floor_seq` the highest number whose event was deleted (0 if none was);
    `remembered_seq` the highest number whose message long-term memory has processed.
    `parent_call` is the call of another session that began this one, on behalf of an agent.
    `epoch` rises whenever a server takes the session over: a change by an earlier owner is refused.
    """

    session_id: str
    agent: str
    principal: str
    user_id: str
    status: SessionStatus
    ephemeral: bool
    title: str | None
    metadata: dict[str, object]
    created_ms: int
    active_ms: int
    ended_ms: int | None = None
    ending: SessionStatus | None = None
    last_seq: int = 0
    reserved_seq: int = 0
    floor_seq: int = 0
    message_count: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    forked_from: str | None = None
    remembered_seq: int = 0
    parent_call: str | None = None
    webhooks: tuple[Webhook, ...] = ()
    """Addresses of its own that are told of its events."""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class StopReceipt:
    """What a terminate did. `upstream_closed_ms` is `None` until the model's connection is closed."""

    session_id: str
    turn_id: str | None
    last_seq: int
    ordered_ms: int
    upstream_closed_ms: int | None
    tokens_after_order: int
