"""The outbox in the database: one row for each event and address that is not told of it yet.

A row is inserted in the unit of the event, leased to one server while that delivers it, and deleted when it is
delivered. It holds ids, words and numbers; texts are read when it is sent, so what was erased meanwhile is not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from app.storage import tables
from app.storage.engine.unit_of_work import UnitOfWork

MOST_IDS = 500
"""Ids in one statement."""

_o, _s, _t, _m, _e = tables.outbox, tables.sessions, tables.turns, tables.messages, tables.events
_earlier = _o.alias("earlier")
_is_first = (
    ~select(1)
    .where(
        _earlier.c.url == _o.c.url,
        _earlier.c.session_id == _o.c.session_id,
        _earlier.c.failed_ms.is_(None),
        _earlier.c.seq < _o.c.seq,
    )
    .exists()
)
"""No earlier event of the session is still to be delivered to the address."""
_row = _o.c.delivery_id == bindparam("the_delivery")
_line = and_(_o.c.url == bindparam("the_url"), _o.c.session_id == bindparam("the_session"), _o.c.failed_ms.is_(None))
_INSERT = insert(_o)
_DELETE = delete(_o).where(_row)
_RETRY = (
    update(_o)
    .where(_row)
    .values(attempts=bindparam("tried"), problem=bindparam("why"), due_ms=bindparam("due"), lease_ms=0)
)
_WAIT = update(_o).where(_line).values(due_ms=bindparam("due"))
_RELEASE = update(_o).where(_row).values(lease_ms=0)
_FAIL = (
    update(_o)
    .where(_row)
    .values(failed_ms=bindparam("now"), attempts=bindparam("tried"), problem=bindparam("why"), lease_ms=0)
)
_HASTEN = (
    update(_o)
    .where(_o.c.url == bindparam("the_url"), _o.c.failed_ms.is_(None), _o.c.due_ms > bindparam("now"))
    .values(due_ms=bindparam("now"))
)
_DELETE_OF_SESSION = delete(_o).where(_o.c.session_id == bindparam("the_session"))
_DELETE_OF_URL = delete(_o).where(_o.c.url == bindparam("the_url"))
_DELETE_FAILED = delete(_o).where(_o.c.failed_ms < bindparam("before"))
_AGAIN = (
    update(_o)
    .where(_row, _o.c.failed_ms.is_not(None))
    .values(failed_ms=None, attempts=0, problem=None, due_ms=0, retried_ms=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event that one address is to be told of. `delivery_id` stays the same over all attempts.

    `secrets`: those of a session's own webhook; `None`: the address is one of the configuration. `since_ms`: from when
    on attempts count against the time after which it is given up. `data`: what is told, without texts.
    """

    delivery_id: str
    url: str
    session_id: str
    seq: int
    agent: str
    kind: str
    data: dict[str, Any]
    includes_text: bool
    secrets: tuple[str, ...] | None
    created_ms: int
    since_ms: int
    attempts: int = 0
    failed_ms: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """`oldest_ms`: when the oldest event happened that is still to be delivered."""

    pending: int
    failed: int
    oldest_ms: int | None


# -- units ---------------------------------------------------------------------------------------------------------


def add(unit: UnitOfWork, delivery: Delivery) -> None:
    unit.add(
        _INSERT,
        {
            "delivery_id": delivery.delivery_id,
            "url": delivery.url,
            "session_id": delivery.session_id,
            "seq": delivery.seq,
            "agent": delivery.agent,
            "kind": delivery.kind,
            "data": orjson.dumps(delivery.data).decode(),
            "includes_text": int(delivery.includes_text),
            "secrets": None if delivery.secrets is None else orjson.dumps(delivery.secrets).decode(),
            "created_ms": delivery.created_ms,
            "retried_ms": None,
            "due_ms": 0,
            "lease_ms": 0,
            "attempts": 0,
            "failed_ms": None,
            "problem": None,
        },
    )


def claim(unit: UnitOfWork, delivery_ids: Collection[str], *, now_ms: int, lease_ms: int) -> list[Delivery]:
    """Lease rows to this server until `lease_ms`; those that it got are in the list when the unit is written.

    Of several servers that ask for a row one gets it; none waits for another.
    """
    claimed: list[Delivery] = []

    def take(connection: Connection) -> None:
        claimed.clear()  # the writer may run a unit again
        mine = (
            select(_o)
            .where(_o.c.delivery_id.in_(delivery_ids), _o.c.lease_ms <= now_ms, _o.c.failed_ms.is_(None))
            .with_for_update(skip_locked=True)  # SQLite has one writer, and no such words
        )
        claimed.extend([_delivery(row) for row in connection.execute(mine)])
        ids = [delivery.delivery_id for delivery in claimed]
        if ids:
            connection.execute(update(_o).where(_o.c.delivery_id.in_(ids)).values(lease_ms=lease_ms))

    unit.calls.append(take)
    return claimed


def add_delivered(unit: UnitOfWork, delivery: Delivery, *, now_ms: int) -> None:
    """The row goes; after failed attempts everything else for the address may be tried at once."""
    unit.add(_DELETE, {"the_delivery": delivery.delivery_id})
    if delivery.attempts:
        unit.add(_HASTEN, {"the_url": delivery.url, "now": now_ms})


def add_retry(unit: UnitOfWork, delivery: Delivery, *, due_ms: int, problem: str) -> None:
    """Try again at `due_ms`; later events of the session wait as long, so that nobody looks at them until then."""
    unit.add(_WAIT, {"the_url": delivery.url, "the_session": delivery.session_id, "due": due_ms})
    values = {"the_delivery": delivery.delivery_id, "tried": delivery.attempts + 1, "why": problem, "due": due_ms}
    unit.add(_RETRY, values)


def add_failed(unit: UnitOfWork, delivery: Delivery, *, now_ms: int, problem: str) -> None:
    """Give it up: it is kept, and later events of the session go on."""
    values = {"the_delivery": delivery.delivery_id, "tried": delivery.attempts + 1, "why": problem, "now": now_ms}
    unit.add(_FAIL, values)
    unit.add(_HASTEN, {"the_url": delivery.url, "now": now_ms})


def add_release(unit: UnitOfWork, delivery: Delivery) -> None:
    """Give the lease back."""
    unit.add(_RELEASE, {"the_delivery": delivery.delivery_id})


def add_again(unit: UnitOfWork, delivery_id: str, *, now_ms: int) -> None:
    """Have a failed one delivered after all, with the time of a new one."""
    unit.add(_AGAIN, {"the_delivery": delivery_id, "now": now_ms})


def add_drop(unit: UnitOfWork) -> None:
    """Delete what is to be told of the session."""
    unit.add(_DELETE_OF_SESSION, {"the_session": unit.session_id})


def add_drop_of(unit: UnitOfWork, session_ids: Sequence[str]) -> None:
    """Delete what is to be told of these sessions."""

    def drop(connection: Connection) -> None:
        for start in range(0, len(session_ids), MOST_IDS):
            ids = session_ids[start : start + MOST_IDS]
            connection.execute(delete(_o).where(_o.c.session_id.in_(ids)))

    unit.calls.append(drop)


def add_drop_url(unit: UnitOfWork, url: str) -> None:
    unit.add(_DELETE_OF_URL, {"the_url": url})


def add_drop_failed(unit: UnitOfWork, *, before_ms: int) -> None:
    unit.add(_DELETE_FAILED, {"before": before_ms})


def add_drop_all(unit: UnitOfWork) -> None:
    unit.add(delete(_o), {})


# -- queries -------------------------------------------------------------------------------------------------------


def due(connection: Connection, *, now_ms: int, without: Collection[str], limit: int) -> list[tuple[str, str]]:
    """(id, address) of what may be delivered now, the longest due first, but to the addresses `without`."""
    query = select(_o.c.delivery_id, _o.c.url).where(
        _o.c.failed_ms.is_(None), _o.c.due_ms <= now_ms, _o.c.lease_ms <= now_ms, _is_first
    )
    if without:
        query = query.where(_o.c.url.not_in(without))
    found = connection.execute(query.order_by(_o.c.due_ms, _o.c.created_ms, _o.c.seq).limit(limit))
    return [(row.delivery_id, row.url) for row in found]


def next_due(connection: Connection, *, now_ms: int) -> int | None:
    """When the next row is due or its lease is over; `None`: nothing waits for a time."""
    by_due = select(func.min(_o.c.due_ms)).where(_o.c.failed_ms.is_(None), _o.c.due_ms > now_ms)
    by_lease = select(func.min(_o.c.lease_ms)).where(_o.c.failed_ms.is_(None), _o.c.lease_ms > now_ms)
    times = [connection.execute(query).scalar() for query in (by_due, by_lease)]
    return min([int(time) for time in times if time is not None], default=None)


def counts(connection: Connection) -> Counts:
    pending = select(func.count(), func.min(_o.c.created_ms)).where(_o.c.failed_ms.is_(None))
    number, oldest_ms = connection.execute(pending).one()
    failed = connection.execute(select(func.count()).select_from(_o).where(_o.c.failed_ms.is_not(None))).scalar()
    return Counts(int(number), int(failed or 0), oldest_ms)


def find_any(connection: Connection) -> bool:
    return connection.execute(select(1).select_from(_o).limit(1)).first() is not None


def list_page(connection: Connection, *, failed_only: bool, limit: int) -> list[Delivery]:
    """What is not delivered, the oldest first."""
    query = select(_o).order_by(_o.c.created_ms, _o.c.session_id, _o.c.seq).limit(limit)
    if failed_only:
        query = query.where(_o.c.failed_ms.is_not(None))
    return [_delivery(row) for row in connection.execute(query)]


def failed_ids(connection: Connection) -> list[str]:
    return list(connection.execute(select(_o.c.delivery_id).where(_o.c.failed_ms.is_not(None))).scalars())


def user_of(connection: Connection, session_id: str) -> str | None:
    """Whose the session is; `None` when it is erased."""
    return connection.execute(select(_s.c.user_id).where(_s.c.session_id == session_id)).scalar()


def version_of(connection: Connection, session_id: str, turn_id: str) -> str | None:
    """The version of the agent of a turn; `None` when it is erased, or never began."""
    query = select(_t.c.agent_version).where(_t.c.session_id == session_id, _t.c.turn_id == turn_id)
    return connection.execute(query).scalar()


def find_text(connection: Connection, session_id: str, message_id: str) -> str | None:
    """The text of a message; `None` when it is erased."""
    query = select(_m.c.content).where(_m.c.session_id == session_id, _m.c.message_id == message_id)
    return connection.execute(query.order_by(_m.c.seq.desc()).limit(1)).scalar()


def find_fact(connection: Connection, session_id: str, seq: int) -> dict[str, Any]:
    """The fields of the event as its row has them; empty when it is erased."""
    fact = connection.execute(select(_e.c.fact).where(_e.c.session_id == session_id, _e.c.seq == seq)).scalar()
    found = orjson.loads(fact) if fact else {}
    return found if isinstance(found, dict) else {}


def _delivery(row: Any) -> Delivery:
    secrets: Sequence[str] | None = orjson.loads(row.secrets) if row.secrets else None
    return Delivery(
        row.delivery_id,
        row.url,
        row.session_id,
        row.seq,
        row.agent,
        row.kind,
        orjson.loads(row.data),
        bool(row.includes_text),
        None if secrets is None else tuple(secrets),
        row.created_ms,
        row.created_ms if row.retried_ms is None else row.retried_ms,
        row.attempts,
        row.failed_ms,
        row.problem,
    )
