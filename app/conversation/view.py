"""View: what one reader wants to see of a session, and where its stream ends."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from app.config.agent import AgentConfig
from app.domain.event import EventKind
from app.domain.session import SessionStatus
from app.events.log import SessionLog
from app.events.run import Run

_ENDS = frozenset({EventKind.TURN_FINISHED, EventKind.SESSION_ENDED, EventKind.SESSION_TERMINATED})


@dataclass(frozen=True, slots=True)
class View:
    """`turn_id`: one turn only, and the stream ends with it. Otherwise the session, until the end of `until_turn` if
    that is set, or as soon as nothing is left with `until_caught_up`.
    """

    hidden: frozenset[EventKind]
    turn_id: str | None = None
    until_turn: str | None = None
    until_caught_up: bool = False
    text_only: bool = False
    top_only: bool = False
    """Without what agents do that were called by this one."""
    whole: bool = False
    """One chunk with the whole answer instead of a stream."""
    chunk_size: int = 0
    delay_seconds: float = 0.0
    skip: tuple[int, int] | None = None
    """(event, characters) the reader has already, from a cursor such as `41:12`."""

    @property
    def is_plain(self) -> bool:
        """Whether every event is shown as it came, so that readers can share its encoded form."""
        return not (self.text_only or self.whole or self.chunk_size or self.delay_seconds or self.skip)

    def shows(self, run: Run) -> bool:
        """A reader whose turn is queued waits through the turns before it, which it does not see."""
        is_others = run.turn_id is not None or run.kind is EventKind.SNAPSHOT  # of a message that no turn made
        if self.turn_id is not None and run.turn_id != self.turn_id and is_others:
            return False
        return run.kind not in self.hidden and not (self.top_only and is_nested(run))

    def ends_turn(self, run: Run) -> bool:
        """Whether `run` closes a turn or the session: a door says so in its own way."""
        return run.kind in _ENDS

    def ends_with(self, run: Run, session_log: SessionLog) -> bool:
        """Whether the reader's stream is over after `run`."""
        if run.kind is not EventKind.TURN_FINISHED:
            return run.kind in _ENDS
        if self.turn_id is None:
            return run.turn_id == self.until_turn
        # After a terminate the session's own last event follows; it ends the stream instead.
        return run.turn_id == self.turn_id and session_log.over is not SessionStatus.TERMINATED

    def is_exhausted(self, session_log: SessionLog) -> bool:
        """Nothing more can come: the session is over, or the reader wanted only what there was."""
        return self.until_caught_up or session_log.is_over


def is_nested(run: Run) -> bool:
    """Whether the event is of an agent that was called."""
    if b'"depth":' not in run.payload:
        return False
    frame = orjson.loads(run.payload)
    tool = frame.get("tool")
    return bool(frame.get("depth") or (isinstance(tool, dict) and tool.get("depth")))


def view_of(
    agent: AgentConfig,
    *,
    debug: bool = False,
    text_only: bool = False,
    top_only: bool = False,
    turn_id: str | None = None,
    until_turn: str | None = None,
    until_caught_up: bool = False,
    skip: tuple[int, int] | None = None,
) -> View:
    """The view that an agent's configuration and a request make together."""
    reasoning, streaming = agent.reasoning, agent.streaming
    hidden = set()
    if not reasoning.show_thinking:
        hidden.add(EventKind.THINKING)
    if not (debug or reasoning.show_debug_info):
        hidden.add(EventKind.DEBUG)
    return View(
        hidden=frozenset(hidden),
        turn_id=turn_id,
        until_turn=until_turn,
        until_caught_up=until_caught_up,
        text_only=text_only,
        top_only=top_only,
        whole=not reasoning.enable_streaming,
        chunk_size=streaming.chunk_size,
        delay_seconds=streaming.delay_ms / 1000,
        skip=skip,
    )
