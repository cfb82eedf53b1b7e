"""Desk: the turns of one warm session: the one at work, those that wait, and what the next one needs."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Protocol

from app.agents import Agent
from app.domain.label import Trust
from app.domain.summary import Summary
from app.events.log import SessionLog, StopOrder
from app.events.run import Run
from app.memory.working import Entry
from app.turns.condensing import Condensing
from app.turns.keys import Keys
from app.turns.open_turn import OpenTurn

ENTRY_BYTES = 200
"""What the objects of an entry of the window take in memory beside its text."""


class DeskHost(Protocol):
    """Who acts for a desk when something happens to its session."""

    def readers_changed(self, desk: Desk) -> None: ...

    def order_stop(self, desk: Desk) -> StopOrder: ...


@dataclass(frozen=True, slots=True)
class Unclosed:
    """A turn that is over although its row says that it runs, and the events that readers were told."""

    turn_id: str
    facts: tuple[Run, ...] = ()


@dataclass(slots=True, eq=False)
class Desk:
    """Everything the turn room knows of a session. `window` is the history as last sent; `None` = not read yet."""

    session_log: SessionLog
    agent: Agent
    host: DeskHost
    open: OpenTurn | None = None
    queue: list[OpenTurn] = field(default_factory=list)
    joining: int = 0
    """Messages on their way into the queue: their row is being written."""
    window: list[Entry] | None = None
    is_stale: bool = False
    """Whether the window is to be read anew for the next turn."""
    successor: Agent | None = None
    """The agent that answers from the next turn on: the configuration was read again while one was open."""
    trust: Trust = "user"
    """The least trusted of what the history has; read with the window."""
    summary: Summary | None = None
    """Stands for what came before the window; read with it."""
    cleared: Set[str] = frozenset()
    """Results that gave way in the last request, and do so in the next ones."""
    left_out: int = 0
    """Messages before the window that no summary stands for."""
    condensing: Condensing | None = None
    summary_failure: str | None = None
    """Why the last attempt to sum up failed, if it did."""
    summary_failed_clock: float | None = None
    is_remembered: bool | None = None
    """Whether long-term memory has everything before the open turn; `None` = not known."""
    unclosed: list[Unclosed] = field(default_factory=list)
    """Turns whose end could not be stored by our fault; the next turn closes them with its own start."""
    keys: Keys = field(default_factory=Keys)
    last_place: int = 0

    @property
    def session_id(self) -> str:
        return self.session_log.session.session_id

    @property
    def weight(self) -> int:
        """See `SessionDesk`."""
        window = self.window or ()
        return sum([len(message.encoded) for message in window]) + ENTRY_BYTES * len(window)

    def readers_changed(self) -> None:
        self.host.readers_changed(self)

    def order_stop(self) -> StopOrder:
        return self.host.order_stop(self)

    def settle(self) -> None:
        """Keep the log's `is_busy` true to what lies here."""
        self.session_log.is_busy = self.open is not None or bool(self.queue) or self.joining > 0

    def read_again(self) -> None:
        """The stored history was changed: read it for the next turn. The open one may be making its request of it."""
        self.is_stale = True

    def serve(self, agent: Agent) -> None:
        """Answer by this agent; an open turn keeps the one it began with."""
        if self.open is not None:
            self.successor = agent if agent is not self.agent else None
        elif agent is not self.agent:
            self.agent, self.is_stale = agent, True

    def begin(self, turn: OpenTurn) -> None:
        """The turn has the session from now on."""
        self.open = turn
        if self.successor is not None:
            self.agent, self.successor, self.is_stale = self.successor, None, True

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


def desk_of(session_log: SessionLog) -> Desk | None:
    """The desk of a warm session, if a turn was accepted in it or is about to be."""
    desk = session_log.desk
    assert desk is None or isinstance(desk, Desk)
    return desk
