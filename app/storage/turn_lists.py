"""Turns in the database, found without their session: by id alone, or as a list over an agent's sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from app.domain.turn import Turn
from app.storage import tables, turns

_t, _s = tables.turns, tables.sessions
_CHANGED: ColumnElement[int] = func.coalesce(_t.c.finished_ms, _t.c.started_ms, _t.c.created_ms)


@dataclass(frozen=True, slots=True)
class TurnFilter:
    """Which turns: of a principal's sessions with an agent. Fields that are set are combined with AND.

    `changed_from_ms`: with a last change at this time or later (inclusive).
    """

    principal: str
    agent: str
    user_id: str | None = None
    session_id: str | None = None
    states: Sequence[str] = ()
    changed_from_ms: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [
            _t.c.session_id == _s.c.session_id,
            _s.c.principal == self.principal,
            _s.c.agent == self.agent,
            _s.c.parent_call.is_(None),
        ]
        if self.user_id is not None:
            found.append(_s.c.user_id == self.user_id)
        if self.session_id is not None:
            found.append(_t.c.session_id == self.session_id)
        if self.states:
            found.append(_t.c.state.in_(self.states))
        if self.changed_from_ms is not None:
            found.append(self.changed_from_ms <= _CHANGED)
        return found


def session_of(connection: Connection, turn_id: str) -> str | None:
    """The session of a turn."""
    found = connection.execute(select(_t.c.session_id).where(_t.c.turn_id == turn_id)).scalar()
    return None if found is None else str(found)


def changed_ms(turn: Turn) -> int:
    """When the turn was finished, started or created: the last of these that happened. The order of `list_page`."""
    return turn.finished_ms or turn.started_ms or turn.created_ms


def list_page(connection: Connection, wanted: TurnFilter, *, before: tuple[int, str] | None, limit: int) -> list[Turn]:
    """Turns, the last changed first; `before` is the (time, id) of the last turn of the previous page."""
    query = select(_t).where(*wanted.conditions())
    if before is not None:
        query = query.where(or_(before[0] > _CHANGED, and_(_CHANGED.in_([before[0]]), _t.c.turn_id < before[1])))
    rows = connection.execute(query.order_by(_CHANGED.desc(), _t.c.turn_id.desc()).limit(limit))
    return [turns.turn_of(row) for row in rows]


def count(connection: Connection, wanted: TurnFilter) -> int:
    """How many turns there are."""
    return int(connection.execute(select(func.count()).select_from(_t, _s).where(*wanted.conditions())).scalar() or 0)
