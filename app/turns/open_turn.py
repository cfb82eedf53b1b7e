"""OpenTurn: a turn that is not over, from its acceptance to its end: what it was asked, what it is doing."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from app.domain.act import Act
from app.domain.label import Trust, least_trusted
from app.domain.turn import Outcome, TurnState, Usage
from app.events.run import Run
from app.llm.base import LLM, LLMStream
from app.memory.working import Entry
from app.turns.ask import Ask
from app.turns.condensing import Condensing
from app.turns.recalling import Recalling

LONGEST_REASON = 64
"""Characters of a finish reason; real ones are a word."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is told: the system prompt with all that belongs to it, if there is any, then messages."""

    system: Entry | None
    messages: list[Entry]
    memory_tokens: int = 0
    """Those of `system` that were recalled or sum up older messages."""

    @property
    def entries(self) -> list[Entry]:
        """All of it, in order."""
        return [self.system, *self.messages] if self.system is not None else self.messages


@dataclass(slots=True, eq=False)
class OpenTurn:
    """A turn that is not over. Times in milliseconds, `clock` ones from the monotonic clock in seconds."""

    turn_id: str
    ask: Ask
    user_message_id: str
    message_id: str
    """Of the answer that is being said: that of a step, when it asks for tools, then that of the next one."""
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
    agent_version: str | None = None
    """That of its agent when it began; a reload does not change it."""
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
    caller: str | None = None
    """The span of the request that it answers (`tracing.caller`)."""
    shown: list[Run] = field(default_factory=list)
    """Facts that readers have seen already; stored with its end."""
    prompt: Prompt | None = None
    trust: Trust = "user"
    """The least trusted of what the model was told so far."""
    recalling: Recalling | None = None
    memory: dict[str, object] | None = None
    """What it recalled, as the wire has it; `None` for agents without a memory."""
    condensing: Condensing | None = None
    """The summary that it waits for."""
    step: int = 0
    """The calls of the model so far."""
    acts: list[Act] = field(default_factory=list)
    """Of the present step, until the history has their outcomes."""
    entries: list[Entry] = field(default_factory=list)
    """What its steps added to the conversation, after the user's message."""
    used: Usage | None = None
    """What the model's calls before the present one used."""
    below: Usage | None = None
    """What agents used that its calls called."""
    extended: Counter[str] = field(default_factory=Counter)
    """How often people let it go on at a limit, by budget."""
    declined: set[str] = field(default_factory=set)
    """Budgets beyond which people did not let it go on."""
    is_counted: bool = False
    """Whether `used` has the present call of the model, too."""
    closed: dict[str, Act] = field(default_factory=dict)
    """Acts of the present step whose end the turn's own end stores."""
    closed_results: dict[str, str] = field(default_factory=dict)
    """Their whole results, by call, where the model is told a part."""
    is_going_on: bool = False
    """Whether it is about to run again after it waited."""
    calls: int = 0
    """Acts so far."""
    stoppers: list[Callable[[], None]] = field(default_factory=list)
    """What is called when the turn is stopped."""
    resumes: bool = False
    """Whether another process goes on with it after a restart (`reasoning.on_crash: resume`)."""
    steers: bool = False
    """Whether it is to enter the turn that runs, at the border between two steps."""
    acts_changed: Callable[[], None] | None = None
    """Called when somebody else has changed an act of a turn that runs."""
    doubtful: list[Act] = field(default_factory=list)
    """Acts that were started when the process before died."""
    is_mending: bool = False
    """Whether the model was told that its answer does not have the form that was asked for."""
    is_handed_over: bool = False
    """Whether the next process goes on with it: this one stops it, and does not write its end."""
    is_resumed: bool = False
    """Whether it goes on after it waited or after a restart, and has to be read again."""
    waiting_for: str | None = None
    waits_below: set[str] = field(default_factory=set)
    """Its calls of agents that wait for a person."""
    parked_clock: float = 0.0
    waited_seconds: float = 0.0
    """How long it has waited for people."""
    parked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while it waits for somebody."""
    phase: str | None = None
    """What it is busy with beside the model: `tool write_file`."""
    repeated: Counter[bytes] = field(default_factory=Counter)
    """How often a call had an outcome, by a digest of both."""
    summary: dict[str, object] | None = None
    """What became of older messages that did not fit, as the wire has it."""

    @property
    def finish_reason(self) -> str | None:
        """Why the model ended its answer, in its own word; `None` if it gave none."""
        reason = self.stream.end.finish_reason if self.stream is not None else None
        if reason is None or (reason.isascii() and reason.isprintable() and len(reason) <= LONGEST_REASON):
            return reason
        return re.sub(r"[^ -~]", "?", reason[:LONGEST_REASON])

    def read(self, *labels: Trust) -> None:
        """The model is told texts with these labels, and whatever it says from now on is made of them."""
        self.trust = least_trusted(self.trust, *labels)

    @property
    def is_waiting(self) -> bool:
        """Whether a person has to answer before it, or an agent that it called, goes on."""
        return self.state is TurnState.WAITING or bool(self.waits_below)

    def settle(self, outcome: Outcome) -> None:
        """Tell those who wait for the end; the first outcome counts."""
        self.state = outcome.state
        if not self.done.done():
            self.done.set_result(outcome)

    def say_next(self, message_id: str) -> None:
        """What was said is stored; what comes now is a message of its own."""
        self.message_id = message_id

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
