"""The seam to tools: what a tool is, what it is given, what comes back, how it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from app.domain.act import ToolClass
from app.domain.event import Event
from app.domain.label import Reach, Secrecy, Trust
from app.domain.turn import Usage


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What a model and an operator are told of a tool. `parameters` is a JSON schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]
    tool_class: ToolClass = ToolClass.ONCE
    source: str = "built-in"
    """Where it is from: `built-in`, `python`, `mcp:NAME`, `agent`."""
    timeout_seconds: float | None = None
    """After this a call is stopped and fails; `None`: the tool has limits of its own."""
    reads: Reach = "none"
    """What it may bring in that others wrote: nothing, from places that the configuration names, from anywhere."""
    sends: Reach = "none"
    """Where it may send what it is given, likewise."""
    secrecy: Secrecy | None = None
    """That of its results; `None`: private if it reads from places that the configuration names, else public."""

    @property
    def labels(self) -> tuple[Trust, Secrecy]:
        """Those of its results."""
        secrecy = self.secrecy or ("private" if self.reads == "fixed" else "public")
        return ("web" if self.reads == "open" else "tool"), secrecy


class ToolFailed(Exception):
    """The call failed; the message is for the model, and says what it can do about it."""


class ToolUnknown(Exception):
    """The request was sent and its answer was lost: nobody knows whether it happened."""


class ToolStopped(Exception):
    """The call was stopped by us, and nothing of it runs any more."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call. `text` is for the model."""

    text: str
    data: Any = None
    """The same for programs, a JSON value; `None`: the text."""
    shown: str | None = None
    """What a stream prints of it, without the line break at its end; `None`: the text, cut. Empty: nothing, because it
    was shown as progress."""
    is_error: bool = False
    """The call happened and went wrong (a program ended with 1)."""
    sandbox: str | None = None
    """The level of the sandbox that a process ran in."""
    trust: Trust | None = None
    """Where this result may be trusted less than others of the tool."""


@dataclass(frozen=True, slots=True)
class Later:
    """The outcome comes later, from elsewhere (a deferred tool). `text` tells people what is waited for."""

    text: str = ""
    expires_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """The tool needs an answer of a person before it can go on: it is run again with `context.answer`."""

    question: str
    choices: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None


ToolOutcome = ToolResult | Later | Question


@dataclass(slots=True, eq=False)
class ToolContext:
    """What a running call knows and can say."""

    call_id: str
    session_id: str
    turn_id: str
    agent: str
    principal: str
    user_id: str
    step: int = 0
    idempotency_key: str = ""
    """The same whenever this call is run again; for `Idempotency-Key` and the like."""
    kept: dict[str, Any] | None = None
    """What `keep` stored before: the call goes on after a restart."""
    answer: Any = None
    """What a person answered to the `Question`."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the call is to end: the tool leaves nothing behind and raises `ToolStopped`."""
    on_progress: Callable[[str, float | None], None] = lambda _text, _percent: None
    on_event: Callable[[Event], None] = lambda _event: None
    """Shows readers what another agent does on behalf of this call."""
    result_address: str = ""
    """Where a program may POST the result of a deferred call, with its token: a path, or an address."""
    on_waiting: Callable[[bool], None] = lambda _is_waiting: None
    """Says whether another agent, on behalf of this call, waits for a person."""
    on_usage: Callable[[Usage], None] = lambda _usage: None
    """Counts what another agent used on behalf of this call."""
    on_keep: Callable[[dict[str, Any]], Awaitable[None]] | None = None

    def progress(self, text: str = "", percent: float | None = None) -> None:
        """Show readers what is going on: text as it would stand in a terminal, or a percentage."""
        self.on_progress(text, percent)

    async def keep(self, kept: dict[str, Any]) -> None:
        """Store what the call needs to go on after a restart; it is committed when this returns."""
        self.kept = kept
        if self.on_keep is not None:
            await self.on_keep(kept)

    @property
    def is_stopped(self) -> bool:
        return self.stop.is_set()


class Tool(Protocol):
    """One thing that agents can do."""

    @property
    def spec(self) -> ToolSpec: ...

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        """Carry out one call. `arguments` fit the schema.

        A call is never cancelled as a task: when `context.stop` is set it ends by itself, soon.

        Raises:
            ToolFailed: it did not work; the model is told why.
            ToolUnknown: it may have happened.
            ToolStopped: `context.stop` was set.
        """
        ...


@runtime_checkable
class Classifying(Protocol):
    """A tool whose calls are not all of one class."""

    def class_of(self, arguments: dict[str, Any]) -> ToolClass:
        """The class of a call with these arguments."""
        ...


@runtime_checkable
class Probing(Protocol):
    """A tool that can find out whether a call with some key has happened."""

    async def probe(self, key: str) -> ToolResult | None:
        """What came of it; `None`: it did not happen. Raises ToolUnknown: that cannot be said."""
        ...
