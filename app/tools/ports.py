"""Ports: what tools need of the rooms above them, handed in by who builds the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.tools.base import ToolContext, ToolOutcome

if TYPE_CHECKING:
    from app.tools.search import Find

ReadWhole = Callable[[str, str], Awaitable[str | None]]
"""Session, handle → the whole of a result that was too large for the model; `None`: this session has no such result."""


@dataclass(frozen=True, slots=True)
class AgentCall:
    """A message of one agent to another. `max_depth`: agents that may call one another in a row, the first included."""

    agent: str
    message: str
    max_depth: int


CallAgent = Callable[[AgentCall, ToolContext], Awaitable[ToolOutcome]]
"""Has the other agent answer, in a session of its own. Raises what `Tool.run` raises."""


@dataclass(frozen=True, slots=True)
class Ports:
    """`None`: no agent has the tools that need it."""

    find: Find | None = None
    """Looks in exactly the stores that are named, which may be none, and in the memories that the agent may recall."""
    read_whole: ReadWhole | None = None
    call_agent: CallAgent | None = None
