"""Fence: on Postgres, which server may write, and whether the last transaction was committed.

A row of `settings` holds a mark: who writes, and the number of the last transaction. Every transaction of the
writer moves it on, on the condition that it stands where this server left it. A server that works alone has the row
`writer`; each of several has one of its own. Two things follow:

- A COMMIT whose answer was lost is looked up, not guessed: the mark tells whether it happened. So a batch can be
  written again without being written twice, and without its own rows looking like a conflict.
- A server that lost its lock without noticing, and was followed by another one, can no longer write; nor can one of
  several whose row the others have removed, because they took it for dead.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from math import inf

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update

from app.storage import tables
from app.storage.engine.unit_of_work import WriteFailed

_s = tables.settings
_NAME = "writer"
_MINE = _s.c.name == bindparam("the_name")
_MOVE = (
    update(_s)
    .where(_MINE, _s.c.value == bindparam("standing", type_=_s.c.value.type))
    .values(value=bindparam("next", type_=_s.c.value.type))
)
_PUT = update(_s).where(_MINE).values(value=bindparam("next", type_=_s.c.value.type))
# FOR UPDATE waits for a transaction that is still open on the connection we have lost.
_READ = select(_s.c.value).where(_MINE).with_for_update()
_REMOVE = delete(_s).where(_MINE)


class Superseded(WriteFailed):
    """Another server has taken over this database: this one must never write again."""

    def __init__(self) -> None:
        super().__init__("another server has taken over this database")


@dataclass(slots=True)
class Lease:
    """`until`: the monotonic time to which this server may believe that it owns what it owns."""

    until: float = inf


FOREVER = Lease()
"""Of a server that works alone."""


class Fence:
    """Used by the writer's thread only, except for `take`."""

    def __init__(self, replica_id: str | None = None) -> None:
        """`replica_id`: of a server that does not work alone."""
        self._name = _name_of(replica_id)
        self._server = secrets.token_bytes(8)
        self._number = 0

    def take(self, engine: Engine) -> None:
        """Make this server the only one that can write. Called by the holder of the lock."""
        with engine.begin() as connection:
            if connection.execute(_PUT, {"the_name": self._name, "next": self._mark(0)}).rowcount == 0:
                connection.execute(insert(_s), {"name": self._name, "value": self._mark(0)})

    def move(self, connection: Connection) -> None:
        """The first statement of a transaction. Raises Superseded."""
        marks = {"standing": self._mark(self._number), "next": self._mark(self._number + 1)}
        if connection.execute(_MOVE, {"the_name": self._name, **marks}).rowcount != 1:
            raise Superseded

    def moved(self) -> None:
        """The transaction was committed."""
        self._number += 1

    def has_moved(self, connection: Connection) -> bool:
        """Whether the transaction whose COMMIT is in doubt was committed. Raises Superseded."""
        found = connection.execute(_READ, {"the_name": self._name}).scalar()
        if found == self._mark(self._number + 1):
            return True
        if found == self._mark(self._number):
            return False
        raise Superseded

    def _mark(self, number: int) -> bytes:
        return self._server + number.to_bytes(8, "big")


def make_fence(engine: Engine, replica_id: str | None = None) -> Fence | None:
    """SQLite needs none: a COMMIT to a file is never in doubt, and its lock ends with the process."""
    return None if engine.dialect.name == "sqlite" else Fence(replica_id)


def remove(connection: Connection, replica_id: str) -> None:
    """Have every later transaction of this replica fail."""
    connection.execute(_REMOVE, {"the_name": _name_of(replica_id)})


def _name_of(replica_id: str | None) -> str:
    return _NAME if replica_id is None else f"{_NAME} {replica_id}"
