"""Acting: what the loop needs beside the desk: the tools of an agent, ids, the clock, limits."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.agents import Agent
from app.auth.call_tokens import make_token
from app.domain.ids import NewId
from app.domain.session import Session
from app.tools.base import Tool, ToolResult
from app.tools.rules import Decision
from app.turns.flow import Flow
from app.turns.outcomes import Outcome, of_result

CALLED_BY = "called_by"
"""In the metadata of a session that a call began: the agents above it."""


class AgentTools(Protocol):
    """The tools of one agent, for one turn."""

    @property
    def schemas(self) -> Sequence[bytes]:
        """What the model is told of them, ready JSON objects."""
        ...

    def find(self, name: str) -> Tool | None: ...

    def decide(self, name: str, arguments: dict[str, object] | None, remembered: Sequence[str]) -> Decision:
        """What the rules say of a call; `remembered`: the rules that answers made."""
        ...


class Toolbox(Protocol):
    """All tools of the server."""

    def for_agent(self, agent: Agent, *, called_by: Sequence[str] = ()) -> AgentTools | None:
        """`None` for an agent without tools. `called_by`: the agents on whose behalf it works, the first one first."""
        ...


def callers_of(session: Session) -> tuple[str, ...]:
    """The agents on whose behalf the session exists, the first one first."""
    found = session.metadata.get(CALLED_BY) if session.parent_call is not None else None
    return tuple(map(str, found)) if isinstance(found, list) else ()


class NoTools:
    """A server without tools."""

    def for_agent(self, agent: Agent, *, called_by: Sequence[str] = ()) -> AgentTools | None:
        return None


@dataclass(frozen=True, slots=True)
class ActLimits:
    """Sizes in bytes, times in seconds."""

    parallel: int = 8
    result_inline: int = 16 * 1024
    result_max: int = 8 * 1024 * 1024
    approval_seconds: float = 24 * 3600
    stop_seconds: float = 5.0
    """How long a stopped call may take before it is left behind."""


@dataclass(frozen=True, slots=True)
class Acting:
    """`secret` makes the keys of acts."""

    toolbox: Toolbox
    new_id: NewId
    clock_ms: Callable[[], int]
    secret: bytes
    limits: ActLimits
    address: str = ""
    """The server's own, as others reach it."""
    flow: Flow = "off"

    def result_address(self, session: Session, call_id: str) -> str:
        """Where the result of a deferred call may be sent."""
        token = make_token(
            self.secret,
            agent=session.agent,
            session_id=session.session_id,
            created_ms=session.created_ms,
            call_id=call_id,
        )
        return (
            f"{self.address}/agents/{session.agent}/sessions/{session.session_id}/calls/{call_id}/result?token={token}"
        )

    def outcome_of(self, result: ToolResult) -> Outcome:
        limits = self.limits
        result_id = self.new_id("res")
        return of_result(result, result_id=result_id, inline=limits.result_inline, most=limits.result_max)

    def key(self, session_id: str, turn_id: str, step: int, place: int) -> str:
        """The key of an act, the same whenever it is run again."""
        said = f"{session_id}\n{turn_id}\n{step}\n{place}".encode()
        return hmac.new(self.secret, b"act\n" + said, hashlib.sha256).hexdigest()
