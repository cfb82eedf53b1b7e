"""Message: one entry of a conversation as the model sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """A message. Once stored only `status` changes: the status of its turn, or `replaced` by another answer.

    `seq` is the number of the last event it covers.
    """

    message_id: str
    session_id: str
    turn_id: str
    role: Role
    content: str
    status: str
    seq: int
    created_ms: int
