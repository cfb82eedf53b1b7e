"""Usage on the wire."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from app.doors.schemas.fields import AgentName, Count, Day, SessionId, Tokens, UserId


class UsageRow(TypedDict):
    """What one user, session, agent or day has used; by which it is grouped is the one of the four that is there."""

    user_id: NotRequired[UserId]
    session_id: NotRequired[SessionId]
    agent: NotRequired[AgentName]
    day: NotRequired[Day]
    turns: Count
    prompt_tokens: Tokens
    completion_tokens: Tokens
    total_tokens: Tokens
    cost: Annotated[float | None, Field(description="By the prices of the configuration; null without a price.")]


UsageReport = TypedDict(
    "UsageReport",
    {
        "by": Literal["user", "session", "agent", "day"],
        "from": Day | None,
        "to": Day | None,
        "usage": list[UsageRow],
    },
)
