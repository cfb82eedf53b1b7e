"""Agents that clients created, in the database."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from app.domain.created_agent import CreatedAgent
from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

_a, _s, _rules = tables.agents, tables.sessions, tables.remembered_rules

# In the order of the fields of CreatedAgent.
_COLUMNS = ("agent_id", "principal", "name", "entry", "given", "created_ms", "updated_ms")
_INSERT = insert(_a)
_CHANGE = (
    update(_a)
    .where(_a.c.agent_id == bindparam("the_agent"))
    .values({name: bindparam(f"new_{name}") for name in ("name", "entry", "given", "updated_ms")})
)
_DELETE = delete(_a).where(_a.c.agent_id == bindparam("the_agent"))
_DELETE_RULES = delete(_rules).where(_rules.c.agent == bindparam("the_agent"))


def add(unit: UnitOfWork, agent: CreatedAgent) -> None:
    unit.add(_INSERT, dict(zip(_COLUMNS, astuple(agent), strict=True)))


def add_change(unit: UnitOfWork, agent: CreatedAgent) -> None:
    """Store name, entry and what was given. Refused with WriteConflict if the agent is not stored."""
    changed = {f"new_{name}": getattr(agent, name) for name in ("name", "entry", "given", "updated_ms")}
    unit.add(_CHANGE, {"the_agent": agent.agent_id, **changed}, expect=1)


def add_removal(unit: UnitOfWork, agent_id: str) -> None:
    """Delete the agent and the rules that people made for it by answering."""
    unit.add(_DELETE_RULES, {"the_agent": agent_id})
    unit.add(_DELETE, {"the_agent": agent_id})


def stored(connection: Connection) -> list[CreatedAgent]:
    """All of them, oldest first."""
    rows = connection.execute(select(_a).order_by(_a.c.created_ms, _a.c.agent_id))
    return [_from_row(row) for row in rows]


def find(connection: Connection, agent_id: str) -> CreatedAgent | None:
    row = connection.execute(select(_a).where(_a.c.agent_id == agent_id)).first()
    return _from_row(row) if row is not None else None


def _from_row(row: Row[Any]) -> CreatedAgent:
    return CreatedAgent(*[getattr(row, name) for name in _COLUMNS])


def sessions_of(connection: Connection, agent_id: str, limit: int) -> list[str]:
    """Ids of the agent's sessions, in whatever state."""
    return list(connection.execute(select(_s.c.session_id).where(_s.c.agent == agent_id).limit(limit)).scalars())
