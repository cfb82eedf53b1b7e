"""Push configurations in the database: addresses that are told when the state of a turn changes."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, exists, insert, literal, or_, select, update

from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

_p = tables.push_configs
_s = tables.sessions

_INSERT = insert(_p)
_OF_SESSION = _p.c.session_id == bindparam("the_session")
_OF_TURN = (_OF_SESSION, _p.c.turn_id == bindparam("the_turn"))
_DELETE = delete(_p).where(_OF_SESSION, _p.c.push_id == bindparam("the_id"))
_TOLD = update(_p).where(*_OF_TURN).values(is_told=1)
_FIND = select(_p.c.push_id, _p.c.config).where(*_OF_TURN).order_by(_p.c.created_ms, _p.c.push_id)
_IS_ALIVE = exists(select(literal(1)).where(tables.replicas.c.id == _s.c.owner))
_UNTOLD = (
    select(_p.c.session_id, _p.c.turn_id)
    .join(_s, _s.c.session_id == _p.c.session_id)
    .where(_p.c.is_told == 0, or_(_s.c.owner.is_(None), _s.c.owner == bindparam("me"), ~_IS_ALIVE))
    .distinct()
)


def add(unit: UnitOfWork, *, turn_id: str, config_id: str, config: str, is_told: bool, created_ms: int) -> None:
    """Store a configuration of a turn of the unit's session, in place of one with the same id."""
    add_removal(unit, turn_id=turn_id, config_id=config_id)
    row = {"session_id": unit.session_id, "push_id": _id(turn_id, config_id), "turn_id": turn_id, "config": config}
    unit.add(_INSERT, {**row, "is_told": int(is_told), "created_ms": created_ms})


def add_removal(unit: UnitOfWork, *, turn_id: str, config_id: str) -> None:
    unit.add(_DELETE, {"the_session": unit.session_id, "the_id": _id(turn_id, config_id)})


def add_told(unit: UnitOfWork, turn_id: str) -> None:
    """The end of the turn was told to all its addresses."""
    unit.add(_TOLD, {"the_session": unit.session_id, "the_turn": turn_id})


def of_turn(connection: Connection, session_id: str, turn_id: str) -> dict[str, str]:
    """The configurations of a turn by their ids, oldest first."""
    rows = connection.execute(_FIND, {"the_session": session_id, "the_turn": turn_id})
    return {row.push_id.removeprefix(_id(turn_id, "")): row.config for row in rows}


def untold(connection: Connection, me: str) -> list[tuple[str, str]]:
    """(session id, turn id) of turns with an address that has not been told of their end.

    Only of sessions that the replica `me` owns, or no live replica does.
    """
    return [(row.session_id, row.turn_id) for row in connection.execute(_UNTOLD, {"me": me})]


def _id(turn_id: str, config_id: str) -> str:
    return f"{turn_id}/{config_id}"
