"""Desk: the turns of one warm session - the one at work, those that wait, and what the next one needs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from app.agents import Agent
from app.domain.summary import Summary
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.events.run import Run
from app.llm.base import LLM, LLMStream
from app.memory.working import Entry
from app.turns.condensing import Condensing
from app.turns.recalling import Recalling


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended; what a waiting caller gets. `usage`, `timings` and `error` are wire objects."""

    turn_id: str
    state: TurnState
    reason: str | None
    text: str
    message_id: str | None
    usage: dict[str, object] | None
    timings: dict[str, object] | None
    error: dict[str, object] | None
    finished_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is told: the system prompt with all that belongs to it, then messages."""

    system: Entry
    messages: list[Entry]
    memory_tokens: int = 0
    """Those of `system` that were recalled or sum up older messages."""


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
    """

    text: str
    instructions: str | None = None
    again: Again | None = None


@dataclass(slots=True, eq=False)
class OpenTurn:
    """A turn that is not over. Times in milliseconds, `clock` ones from the monotonic clock in seconds."""

    turn_id: str
    ask: Ask
    user_message_id: str
    message_id: str
    background: bool
    created_ms: int
    created_clock: float
    done: asyncio.Future[Outcome]
    grace_seconds: float | None
    state: TurnState = TurnState.QUEUED
    place: int = 0
    after: int = 0
    """The number before the turn's first event: where its readers begin."""
    started_seq: int = 0
    started_ms: int = 0
    started_clock: float = 0.0
    first_token_clock: float | None = None
    longest_gap: float = 0.0
    """Seconds between two reads of the model, at most."""
    llm: LLM | None = None
    stream: LLMStream | None = None
    stop: tuple[TurnState, str | None] | None = None
    """State and reason it is to end with; set once, by whoever stops it first."""
    dropped: int = 0
    """Deltas that arrived after the stop."""
    is_stored: bool = False
    """Whether its end is written; a terminate writes another one."""
    grace: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None
    wants_debug: bool = False
    shown: list[Run] = field(default_factory=list)
    """Facts that readers have seen already; stored with its end."""
    prompt: Prompt | None = None
    recalling: Recalling | None = None
    memory: dict[str, object] | None = None
    """What it recalled, as the wire has it; `None` for agents without a memory."""
    condensing: Condensing | None = None
    """The summary that it waits for."""
    summary: dict[str, object] | None = None
    """What became of older messages that did not fit, as the wire has it."""

    @property
    def text(self) -> str:
        """The user's message."""
        return self.ask.text

    @property
    def memory_record(self) -> dict[str, object] | None:
        """What memory had to do with this turn, for its record."""
        if self.summary is None:
            return self.memory
        return {**(self.memory or {}), "summary": self.summary}


@dataclass(slots=True, eq=False)
class Desk:
    """Everything the turn room knows of a session. `window` is the history as last sent; `None` = not read yet."""

    log: SessionLog
    agent: Agent
    open: OpenTurn | None = None
    queue: list[OpenTurn] = field(default_factory=list)
    joining: int = 0
    """Messages on their way into the queue: their row is being written."""
    window: list[Entry] | None = None
    summary: Summary | None = None
    """Stands for what came before the window; read with it."""
    condensing: Condensing | None = None
    summary_failure: str | None = None
    """Why the last attempt to sum up failed, if it did."""
    summary_failed_clock: float | None = None
    is_remembered: bool | None = None
    """Whether long-term memory has everything before the open turn; `None` = not known."""
    keys: dict[str, KeyedTurn] = field(default_factory=dict)
    last_place: int = 0

    def settle(self) -> None:
        self.log.is_busy = self.open is not None or bool(self.queue) or self.joining > 0

    def put_last(self, turn: OpenTurn) -> None:
        """Give the turn a place behind all others; places also order the rows after a restart."""
        turn.place = self.last_place = max(self.last_place + 1, turn.created_ms)

    def put_first(self, turn: OpenTurn) -> None:
        """Give the turn a place before all that wait."""
        turn.place = min([waiting.place for waiting in self.queue], default=max(self.last_place, turn.created_ms)) - 1

    def find(self, turn_id: str) -> OpenTurn | None:
        if self.open is not None and self.open.turn_id == turn_id:
            return self.open
        return next((turn for turn in self.queue if turn.turn_id == turn_id), None)


@dataclass(slots=True, eq=False)
class KeyedTurn:
    """The use of an idempotency key: the body it came with and, in time, its turn."""

    body_hash: bytes
    turn: asyncio.Future[OpenTurn | str]
    """The open turn, or the id of one that is over."""
