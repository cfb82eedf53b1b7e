"""Acts in the database: inserted before anything happens, changed under the condition of the state before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, and_, bindparam, func, insert, select, update

from app.domain.act import Act, ActState, StateChange, ToolClass
from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

_a, _s, _r, _rules = tables.acts, tables.sessions, tables.results, tables.remembered_rules

_CHANGED = (
    "state",
    "changes",
    "waiting_for",
    "why",
    "rule",
    "asked",
    "edited",
    "outcome",
    "result",
    "result_id",
    "kept",
    "expires_ms",
    "is_checkpointed",
    "remembers",
    "trust",
    "secrecy",
)
_INSERT = insert(_a)
_ID = and_(_a.c.session_id == bindparam("the_session"), _a.c.call_id == bindparam("the_call"))
_CHANGE = (
    update(_a)
    .where(_ID, _a.c.state == bindparam("state_before"), _a.c.is_checkpointed == bindparam("checkpointed_before"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
)
_KEEP = update(_a).where(_ID, _a.c.state == "started").values(kept=bindparam("new_kept"))
_CHECKPOINT = (
    update(_a)
    .where(
        _a.c.session_id == bindparam("the_session"),
        _a.c.turn_id == bindparam("the_turn"),
        _a.c.step == bindparam("the_step"),
    )
    .values(is_checkpointed=1)
)
_FIND = select(_a).where(_ID)
_OF_TURN = (
    select(_a)
    .where(_a.c.session_id == bindparam("the_session"), _a.c.turn_id == bindparam("the_turn"))
    .order_by(_a.c.step, _a.c.place)
)
_INSERT_RESULT = insert(_r)
_FIND_RESULT = select(_r.c.content).where(
    _r.c.session_id == bindparam("the_session"), _r.c.result_id == bindparam("the_result")
)
_INSERT_RULE = insert(_rules)


def add(unit: UnitOfWork, act: Act, *, created_ms: int) -> None:
    """Insert an act with its first states."""
    unit.add(
        _INSERT,
        {
            "session_id": act.session_id,
            "call_id": act.call_id,
            "turn_id": act.turn_id,
            "step": act.step,
            "place": act.place,
            "agent": act.agent,
            "name": act.name,
            "class": act.tool_class.value,
            "arguments": act.arguments,
            "created_ms": created_ms,
            **_values(act),
        },
    )


def add_change(unit: UnitOfWork, before: Act, after: Act) -> None:
    """Store the next state of an act; the unit fails when the act is no longer as `before`: in another state, or now
    part of the history."""
    values = {f"new_{name}": value for name, value in _values(after).items()}
    was = {"state_before": before.state.value, "checkpointed_before": int(before.is_checkpointed)}
    unit.add(_CHANGE, {"the_session": unit.session_id, "the_call": after.call_id} | was | values, expect=1)


def add_kept(unit: UnitOfWork, call_id: str, kept: dict[str, object]) -> None:
    """Store what a started act needs to go on after a restart; the unit fails when it is not started."""
    parameters = {"the_session": unit.session_id, "the_call": call_id, "new_kept": orjson.dumps(kept).decode()}
    unit.add(_KEEP, parameters, expect=1)


def add_checkpoint(unit: UnitOfWork, turn_id: str, step: int) -> None:
    """The history has the outcomes of all acts of a step."""
    unit.add(_CHECKPOINT, {"the_session": unit.session_id, "the_turn": turn_id, "the_step": step})


def add_result(unit: UnitOfWork, *, result_id: str, call_id: str, content: str, size: int, created_ms: int) -> None:
    """Store a result as a whole; `size` in bytes."""
    unit.add(
        _INSERT_RESULT,
        {
            "session_id": unit.session_id,
            "result_id": result_id,
            "call_id": call_id,
            "content": content,
            "bytes": size,
            "created_ms": created_ms,
        },
    )


def find_result(connection: Connection, session_id: str, result_id: str) -> str | None:
    found = connection.execute(_FIND_RESULT, {"the_session": session_id, "the_result": result_id}).scalar()
    return None if found is None else str(found)


def find(connection: Connection, session_id: str, call_id: str) -> Act | None:
    row = connection.execute(_FIND, {"the_session": session_id, "the_call": call_id}).first()
    return _act(row) if row is not None else None


def of_turn(connection: Connection, session_id: str, turn_id: str) -> list[Act]:
    """All acts of a turn, by step and place."""
    rows = connection.execute(_OF_TURN, {"the_session": session_id, "the_turn": turn_id})
    return [_act(row) for row in rows]


def page(
    connection: Connection,
    session_ids: Sequence[str],
    *,
    turn_id: str | None = None,
    states: Iterable[ActState] = (),
    waiting_for: str | None = None,
    limit: int,
) -> list[Act]:
    """Acts of sessions, oldest first."""
    query = select(_a).where(_a.c.session_id.in_(session_ids))
    if turn_id is not None:
        query = query.where(_a.c.turn_id == turn_id)
    if words := [state.value for state in states]:
        query = query.where(_a.c.state.in_(words))
    if waiting_for is not None:
        query = query.where(_a.c.waiting_for == waiting_for)
    query = query.order_by(_a.c.created_ms, _a.c.step, _a.c.place).limit(limit)
    return [_act(row) for row in connection.execute(query)]


def count(connection: Connection, session_id: str, *, without_turn: str) -> tuple[int, int]:
    """(steps with calls, calls) of a session, those of one turn left out."""
    mine = and_(_a.c.session_id == session_id, _a.c.turn_id != without_turn)
    steps = select(_a.c.turn_id, _a.c.step).where(mine).distinct().subquery()
    found = connection.execute(select(func.count()).select_from(steps)).scalar()
    calls = connection.execute(select(func.count()).select_from(_a).where(mine)).scalar()
    return int(found or 0), int(calls or 0)


def waiting(
    connection: Connection, *, principal: str, agent: str, user_id: str | None, waiting_for: str, limit: int
) -> list[Act]:
    """Acts that wait, in all sessions of a principal with an agent."""
    owned = select(_s.c.session_id).where(_s.c.principal == principal, _s.c.agent == agent)
    if user_id is not None:
        owned = owned.where(_s.c.user_id == user_id)
    query = select(_a).where(_a.c.state == "waiting", _a.c.waiting_for == waiting_for, _a.c.session_id.in_(owned))
    return [_act(row) for row in connection.execute(query.order_by(_a.c.created_ms).limit(limit))]


def expired(connection: Connection, *, now_ms: int, limit: int) -> list[Act]:
    """Acts that wait longer than they may."""
    query = select(_a).where(_a.c.state == "waiting", _a.c.expires_ms <= now_ms)
    return [_act(row) for row in connection.execute(query.order_by(_a.c.expires_ms).limit(limit))]


def children(connection: Connection, session_id: str) -> list[str]:
    """The sessions that calls of a session began, and theirs."""
    found: list[str] = []
    level = [session_id]
    while level:
        calls = select(_a.c.call_id).where(_a.c.session_id.in_(level))
        query = select(_s.c.session_id).where(_s.c.parent_call.in_(calls))
        level = [child for child in connection.execute(query).scalars() if child not in found]
        found += level
    return found


def family(connection: Connection, session_ids: Sequence[str]) -> list[str]:
    """The sessions and those that their calls began."""
    return [*session_ids, *[below for one in session_ids for below in children(connection, one)]]


def add_rule(
    unit: UnitOfWork, *, rule_id: str, principal: str, user_id: str, agent: str, rule: str, created_ms: int
) -> None:
    """Remember a rule for all sessions of a user with an agent."""
    unit.add(
        _INSERT_RULE,
        {
            "rule_id": rule_id,
            "principal": principal,
            "user_id": user_id,
            "agent": agent,
            "rule": rule,
            "created_ms": created_ms,
        },
    )


def remembered(connection: Connection, *, session_id: str, principal: str, user_id: str, agent: str) -> list[str]:
    """The rules that answers made for this session or for its user with the agent."""
    of_session = select(_a.c.remembers).where(_a.c.session_id == session_id, _a.c.remembers.is_not(None))
    is_theirs = and_(_rules.c.principal == principal, _rules.c.user_id == user_id, _rules.c.agent == agent)
    of_agent = select(_rules.c.rule).where(is_theirs)
    return [*connection.execute(of_session).scalars(), *connection.execute(of_agent).scalars()]


def _values(act: Act) -> dict[str, Any]:
    return {
        "state": act.state.value,
        "changes": _json([change.to_json() for change in act.changes]),
        "waiting_for": act.waiting_for,
        "why": act.why,
        "rule": act.rule,
        "asked": _json(act.asked),
        "edited": act.edited,
        "outcome": act.outcome,
        "result": _json(act.result),
        "result_id": act.result_id,
        "kept": _json(act.kept),
        "expires_ms": act.expires_ms,
        "is_checkpointed": int(act.is_checkpointed),
        "remembers": act.remembers,
        "trust": act.trust,
        "secrecy": act.secrecy,
    }


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _read(stored: str | None) -> Any:
    return None if stored is None else orjson.loads(stored)


def _act(row: Row[Any]) -> Act:
    found = row._mapping
    return Act(
        call_id=row.call_id,
        session_id=row.session_id,
        turn_id=row.turn_id,
        step=row.step,
        place=row.place,
        agent=row.agent,
        name=row.name,
        tool_class=ToolClass(found["class"]),
        arguments=row.arguments or "",
        state=ActState(row.state),
        changes=tuple(
            [StateChange(ActState(one["state"]), one["at"], one.get("by")) for one in _read(row.changes) or ()]
        ),
        waiting_for=row.waiting_for,
        why=row.why,
        rule=row.rule,
        asked=_read(row.asked),
        edited=row.edited,
        outcome=row.outcome,
        result=_read(row.result),
        result_id=row.result_id,
        kept=_read(row.kept),
        expires_ms=row.expires_ms,
        is_checkpointed=bool(row.is_checkpointed),
        remembers=row.remembers,
        trust=row.trust or "web",
        secrecy=row.secrecy or "private",
    )
