"""Ask: what a turn is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.label import Trust
from app.tools.client_tool import ClientTool


@dataclass(frozen=True, slots=True)
class Again:
    """The user message to answer anew, and the number of the answer that gives way.

    `as_of`: the session's last number when they were the newest.
    """

    message_id: str
    seq: int
    replaced_seq: int | None
    as_of: int
    replaced_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a turn is asked to do: answer `text`, this once with `instructions` added to the system prompt.

    `again`: the user message is in the history already, and the new answer replaces the old one, if there is one.
    `response_format`: see `LLMRequest`; also `{"type":"text"}`. `None`: as the agent usually answers.
    """

    text: str
    instructions: str | None = None
    again: Again | None = None
    trust: Trust = "user"
    """That of `text`: another agent may have written it, after it read what strangers wrote."""
    response_format: bytes | None = None
    client_tools: tuple[ClientTool, ...] = ()
    """Tools that the caller runs itself. They are not stored: a turn that goes on after a restart has them no more."""
