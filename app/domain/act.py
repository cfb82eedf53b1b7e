"""Act: one tool call as the server carries it out: a row that exists before anything happens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from app.domain.label import Secrecy, Trust

WaitingFor = Literal["approval", "result", "input"]


class ToolClass(StrEnum):
    """Whether a call may be run a second time when nobody knows whether the first one happened."""

    READ = "read"
    """It changes nothing."""
    IDEMPOTENT = "idempotent"
    """It may run again with the same key."""
    ONCE = "once"
    """It must not."""


class ActState(StrEnum):
    PROPOSED = "proposed"
    WAITING = "waiting"
    APPROVED = "approved"
    STARTED = "started"
    SETTLED = "settled"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def is_over(self) -> bool:
        """Whether the model can be told an outcome. An unknown act is over for its turn, and may still be resolved."""
        return self in OVER


OVER = frozenset({ActState.SETTLED, ActState.FAILED, ActState.REFUSED, ActState.CANCELLED})

NEXT: dict[ActState, frozenset[ActState]] = {
    ActState.PROPOSED: frozenset({ActState.WAITING, ActState.APPROVED, ActState.REFUSED, ActState.CANCELLED}),
    ActState.WAITING: frozenset(
        {ActState.APPROVED, ActState.REFUSED, ActState.SETTLED, ActState.FAILED, ActState.CANCELLED, ActState.STARTED}
    ),
    ActState.APPROVED: frozenset({ActState.STARTED, ActState.CANCELLED}),
    ActState.STARTED: frozenset(
        {ActState.SETTLED, ActState.FAILED, ActState.CANCELLED, ActState.UNKNOWN, ActState.WAITING}
    ),
    ActState.UNKNOWN: frozenset({ActState.SETTLED, ActState.FAILED, ActState.APPROVED, ActState.STARTED}),
    ActState.SETTLED: frozenset(),
    ActState.FAILED: frozenset(),
    ActState.REFUSED: frozenset(),
    ActState.CANCELLED: frozenset(),
}
"""The states that may follow. From `started` back to `waiting`: a deferred result, or a question of the tool."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """When an act got a state, and by whom; `by` is `None` for the server itself."""

    state: ActState
    at_ms: int
    by: str | None = None

    def to_json(self) -> dict[str, object]:
        return {"state": self.state.value, "at": self.at_ms, **({} if self.by is None else {"by": self.by})}


@dataclass(frozen=True, slots=True)
class Act:
    """An act as it is stored. Times are milliseconds since the epoch.

    `arguments` is what the model wrote, as JSON text; `edited` what a person made of it. `outcome` is what the model is
    told, `result` what readers are told (a JSON value). `kept` is what the tool needs to go on after a restart.
    """

    call_id: str
    session_id: str
    turn_id: str
    step: int
    place: int
    agent: str
    name: str
    tool_class: ToolClass
    arguments: str
    state: ActState
    changes: tuple[StateChange, ...] = ()
    waiting_for: WaitingFor | None = None
    why: str | None = None
    """Why it waits, or was refused: the rule, or the question."""
    rule: str | None = None
    asked: dict[str, object] | None = None
    """The question of a tool, with `choices` or `schema`."""
    edited: str | None = None
    outcome: str | None = None
    result: object = None
    result_id: str | None = None
    kept: dict[str, object] | None = None
    expires_ms: int | None = None
    is_checkpointed: bool = False
    """Whether the history has its outcome."""
    remembers: str | None = None
    """The rule for its session that the answer made."""
    trust: Trust = "tool"
    """Of its outcome; that of the tool from its start on, before that nobody else has a word in it."""
    secrecy: Secrecy = "public"

    def to(self, state: ActState, at_ms: int, *, by: str | None = None, **fields: Any) -> Act:
        """The act in its next state. Raises ValueError: that state may not follow."""
        if state not in NEXT[self.state]:
            raise ValueError(f"an act that is {self.state} cannot become {state}")
        waiting_for = fields.pop("waiting_for", None)
        changes = (*self.changes, StateChange(state, at_ms, by))
        return replace(self, state=state, changes=changes, waiting_for=waiting_for, **fields)

    @property
    def started_ms(self) -> int | None:
        """When it was last started."""
        return next((change.at_ms for change in reversed(self.changes) if change.state is ActState.STARTED), None)

    @property
    def effective(self) -> str:
        """The arguments it is carried out with."""
        return self.arguments if self.edited is None else self.edited
