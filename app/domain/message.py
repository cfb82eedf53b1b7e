"""Message: one entry of a conversation as the model sees it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from app.domain.label import Secrecy, Trust

Role = Literal["user", "assistant"]
"""Who speaks."""
MessageRole = Literal["user", "assistant", "tool"]
"""A tool message is the outcome of a call."""

# White space, control characters, what Unicode calls default ignorable, and the blank Braille pattern.
_VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message. Once stored only `status` changes: the status of its turn, or `replaced` by another answer.

    `seq` is the number of the last event it covers. `turn_id`: `None` for a message that no turn made.
    """

    message_id: str
    session_id: str
    turn_id: str | None
    role: MessageRole
    content: str
    status: str
    seq: int
    created_ms: int
    tool_calls: tuple[ToolCallRecord, ...] = ()
    """What an assistant message asks for."""
    tool_call_id: str | None = None
    """The call whose outcome a tool message is."""
    result_id: str | None = None
    """Where the whole result is, if the message has only a part."""
    trust: Trust = "user"
    """The least trusted of what it was made of."""
    secrecy: Secrecy = "private"


@dataclass(frozen=True, slots=True)
class ToolCallRecord:
    """A call as the history has it; `arguments` is JSON text."""

    call_id: str
    name: str
    arguments: str


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: it is empty, or white space and zero-width characters only."""
    return _VISIBLE.search(text) is None
