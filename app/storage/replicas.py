"""Replicas in the database: who is alive by the database's clock, and which of them owns a session.

A replica that is not in the table is dead: whatever it owned may be taken. `bury` removes it together with its fence,
so that its next transaction fails, whatever it believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, insert, literal, or_, select, text, update

from app.domain.session import Session
from app.storage import sessions, tables
from app.storage.engine import dialect, fence
from app.storage.engine.unit_of_work import UnitOfWork

_r = tables.replicas
_s = tables.sessions
_t = tables.turns

_LEASE_END = text("now() + make_interval(secs => :lease)")
_RENEW = text("UPDATE replicas SET lease_until = now() + make_interval(secs => :lease) WHERE id = :id")
_EXPIRED = select(_r.c.id).where(_r.c.lease_until < text("now()"))
_ALIVE = exists(select(literal(1)).where(_r.c.id == _s.c.owner))
_IS_FREE = or_(_s.c.owner.is_(None), ~_ALIVE)
_CLAIM = (
    update(_s)
    .where(_s.c.session_id == bindparam("the_session"), or_(_s.c.owner == bindparam("me"), _IS_FREE))
    .values(owner=bindparam("me"), epoch=_s.c.epoch + 1)
)
_RELEASE = (
    update(_s).where(_s.c.session_id == bindparam("the_session"), _s.c.owner == bindparam("me")).values(owner=None)
)
_RELEASE_ALL = update(_s).where(_s.c.owner == bindparam("me")).values(owner=None)
_ORPHANS = (
    select(_t.c.session_id)
    .join(_s, _s.c.session_id == _t.c.session_id)
    .where(_t.c.finished_ms.is_(None), _IS_FREE)
    .distinct()
    .limit(bindparam("at_most"))
)
_END = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name")


@dataclass(frozen=True, slots=True)
class Replica:
    """One server of a cluster. `seconds_left` of its lease, by the database's clock."""

    id: str
    name: str
    address: str
    started_ms: int
    seconds_left: float


def register(connection: Connection, replica: Replica, *, lease_seconds: float) -> None:
    """Become one of them."""
    values = {"id": replica.id, "name": replica.name, "address": replica.address, "started_ms": replica.started_ms}
    connection.execute(insert(_r).values(**values, lease_until=_LEASE_END.bindparams(lease=lease_seconds)))


def renew(connection: Connection, replica_id: str, *, lease_seconds: float) -> bool:
    """Whether the replica is still one of them; its lease begins anew."""
    return connection.execute(_RENEW, {"id": replica_id, "lease": lease_seconds}).rowcount == 1


def list_all(connection: Connection) -> list[Replica]:
    """All that are not buried, the oldest first."""
    left = text("extract(epoch FROM lease_until - now()) AS seconds_left")
    rows = connection.execute(
        select(_r.c.id, _r.c.name, _r.c.address, _r.c.started_ms, left).order_by(_r.c.started_ms, _r.c.id)
    )
    return [Replica(row.id, row.name, row.address, row.started_ms, float(row.seconds_left)) for row in rows]


def expired(connection: Connection) -> list[str]:
    """The replicas that have not been heard of for too long."""
    return list(connection.execute(_EXPIRED).scalars())


def bury(connection: Connection, replica_id: str) -> bool:
    """Whether the replica, whose lease has run out, is dead from now on, and this call has made it so.

    Its connections are ended first: a process that was stopped within a transaction would hold its locks.
    """
    connection.execute(_END, {"name": dialect.application_name(replica_id)})
    is_dead = delete(_r).where(_r.c.id == replica_id, _r.c.lease_until < text("now()"))
    if connection.execute(is_dead).rowcount == 0:
        return False
    fence.remove(connection, replica_id)
    return True


def make_burial(replica_id: str) -> UnitOfWork:
    """A unit that buries the replica, if its lease has run out."""
    return UnitOfWork("", calls=[partial(bury, replica_id=replica_id)])


def is_member(connection: Connection, replica_id: str) -> bool:
    """Whether the replica is one of them: alive, or not buried yet."""
    return connection.execute(select(_r.c.id).where(_r.c.id == replica_id)).first() is not None


def leave(connection: Connection, replica_id: str) -> None:
    """The replica stops: what it owned is free, and nobody waits for it."""
    connection.execute(_RELEASE_ALL, {"me": replica_id})
    connection.execute(delete(_r).where(_r.c.id == replica_id))
    fence.remove(connection, replica_id)


@dataclass(slots=True)
class Claim:
    """What became of an attempt to own a session, once its unit is committed.

    `session`: its row, `None` if there is none. `owner`: the live replica that has it, `None` if we do.
    """

    unit: UnitOfWork
    session: Session | None = None
    owner: str | None = None
    has_turns: bool = False
    """Whether turns are open that nobody works on: their owner died."""


def claim(session_id: str, *, me: str) -> Claim:
    """A unit that makes the session ours if it is nobody's, ours, or of a replica that is dead."""
    found = Claim(UnitOfWork(session_id))
    found.unit.calls.append(partial(_claim, found=found, me=me))
    return found


def _claim(connection: Connection, *, found: Claim, me: str) -> None:
    session_id = found.unit.session_id
    is_ours = connection.execute(_CLAIM, {"the_session": session_id, "me": me}).rowcount == 1
    found.session = sessions.find(connection, session_id)
    found.owner = None
    if found.session is None:
        return
    if not is_ours:
        owner = select(_s.c.owner).where(_s.c.session_id == session_id)
        found.owner = connection.execute(owner).scalar()
        return
    is_open = and_(_t.c.session_id == session_id, _t.c.finished_ms.is_(None))
    found.has_turns = connection.execute(select(exists(select(literal(1)).where(is_open)))).scalar() is True


def add_release(unit: UnitOfWork, *, me: str) -> None:
    """Have the unit give the session up."""
    unit.add(_RELEASE, {"the_session": unit.session_id, "me": me})


def owners(connection: Connection, session_ids: Sequence[str]) -> dict[str, str | None]:
    """The live owner of each session that exists; `None`: nobody's."""
    rows = connection.execute(
        select(_s.c.session_id, _s.c.owner, _ALIVE.label("is_alive")).where(_s.c.session_id.in_(session_ids))
    )
    return {row.session_id: row.owner if row.is_alive else None for row in rows}


def orphans(connection: Connection, *, limit: int) -> list[str]:
    """Sessions with open turns that no live replica works on."""
    return list(connection.execute(_ORPHANS, {"at_most": limit}).scalars())


def owned(connection: Connection) -> dict[str, int]:
    """How many sessions each replica owns."""
    counts: Any = text("SELECT owner, count(*) AS n FROM sessions WHERE owner IS NOT NULL GROUP BY owner")
    return {row.owner: row.n for row in connection.execute(counts)}
