"""Membership: this replica is one of several, says so again and again, and buries those that have fallen silent.

It has a thread and a connection of its own: neither a long batch nor a busy loop may let its lease run out.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from app.storage import replicas
from app.storage.engine.fence import Lease
from app.storage.replicas import Replica

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0


class Membership:
    """`lease.until` tells every part how long this replica may believe in what it owns."""

    def __init__(
        self,
        engine: Engine,
        replica: Replica,
        *,
        lease_seconds: float,
        changed: Callable[[], None],
        superseded: Callable[[], None],
    ) -> None:
        """`changed`: replicas came or went. `superseded`: the others took this one for dead. Called on the loop."""
        self._engine = engine
        self.replica = replica
        self.lease = Lease()
        self.members: list[Replica] = [replica]
        """All of them, the one that has been there longest first."""
        self._lease_seconds = lease_seconds
        self._changed = changed
        self._superseded = superseded
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None
        self._stable_since = float("inf")
        """Since when the database has answered every time: others may need a moment to be heard again."""

    @property
    def is_first(self) -> bool:
        """Whether this replica does what only one is to do."""
        return self.members[0].id == self.replica.id

    def is_alive(self, replica_id: str) -> bool:
        return any(member.id == replica_id for member in self.members)

    async def join(self) -> None:
        await asyncio.to_thread(self._join)
        self._thread = threading.Thread(target=self._run, name="hector-replica", daemon=True)
        self._thread.start()

    async def leave(self) -> None:
        """Give up everything that this replica owns. What raises is logged: the others then wait for the lease."""
        self._stopped.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        try:
            await asyncio.to_thread(self._leave)
        except DBAPIError as error:
            log.warning("this server could not say that it leaves: %s", error.orig)

    async def look(self) -> None:
        """Find out at once who is there: a replica has just come."""
        await asyncio.to_thread(self._look)

    # -- the thread -----------------------------------------------------------------------------

    def _join(self) -> None:
        begun = time.monotonic()
        with self._engine.begin() as connection:
            replicas.register(connection, self.replica, lease_seconds=self._lease_seconds)
            self.members = replicas.list_all(connection)
        self.lease.until = begun + self._lease_seconds
        self._stable_since = begun

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
        with self._engine.begin() as connection:
            replicas.leave(connection, self.replica.id)

    def _run(self) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            try:
                is_alive = self._tick()
            except Exception as error:
                self._stable_since = float("inf")
                log.warning("this server cannot be heard by the others: %s", getattr(error, "orig", error))
                self._drop_connection()
                continue
            if not is_alive:
                self.lease.until = float("-inf")
                self._tell(self._superseded)
                return

    def _tick(self) -> bool:
        """Whether this replica is still one of them."""
        begun = time.monotonic()
        connection = self._connected()
        if not replicas.renew(connection, self.replica.id, lease_seconds=self._lease_seconds):
            return False
        self.lease.until = begun + self._lease_seconds
        self._stable_since = min(self._stable_since, begun)
        if begun - self._stable_since > self._lease_seconds / 2:
            for replica_id in replicas.expired(connection):
                self._bury(replica_id)
        self._note(replicas.list_all(connection))
        return True

    def _look(self) -> None:
        with self._engine.connect() as connection:
            self._note(replicas.list_all(connection))

    def _note(self, found: list[Replica]) -> None:
        if [one.id for one in found] != [one.id for one in self.members]:
            self.members = found
            self._tell(self._changed)

    def _bury(self, replica_id: str) -> None:
        with self._engine.begin() as connection:
            is_buried = replicas.bury(connection, replica_id)
        if is_buried:
            log.warning("server %s has not been heard of for too long; its sessions are taken over", replica_id)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except Exception:
                log.debug("a broken connection could not be closed", exc_info=True)

    def _tell(self, listener: Callable[[], Any]) -> None:
        self._loop.call_soon_threadsafe(listener)
