"""Session: one continuous conversation, and its life: active, then ended, expired or terminated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SessionStatus(StrEnum):
    ACTIVE = "active"
    ENDED = "ended"
    EXPIRED = "expired"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored. Times are milliseconds since the epoch.

    `ending` is the status it takes once no turn is open: new messages are refused meanwhile.
    `reserved_seq` is the highest event number this process may hand out without asking again;
    `floor_seq` the highest number that is no longer kept (0 while all are);
    `remembered_seq` the number up to which long-term memory has what it keeps of the messages.
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


@dataclass(frozen=True, slots=True)
class StopReceipt:
    """What a terminate did. `upstream_closed_ms` is `None` while the model has not hung up yet."""

    session_id: str
    turn_id: str | None
    last_seq: int
    ordered_ms: int
    upstream_closed_ms: int | None
    tokens_after_order: int
