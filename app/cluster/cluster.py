"""Cluster: this server as one of several that are one service. Opens and closes what the room has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from app.agents import Roster
from app.auth.made_keys import MadeKeys
from app.cluster.copies_elsewhere import CopiesElsewhere
from app.cluster.operations import operations_of
from app.cluster.places import Places, word_of
from app.cluster.roll_call import RollCall
from app.cluster.sharing import Sharing
from app.cluster.wire import Wire
from app.created_agents import CreatedAgents
from app.domain.errors import HectorError, Unavailable
from app.domain.ids import NewId
from app.domain.replica import Working
from app.house import House
from app.observability.metrics import Metrics
from app.storage.engine.database import Database
from app.storage.engine.membership import Membership
from app.storage.replicas import Replica

if TYPE_CHECKING:  # loaded where they are configured
    from app.cluster.tail import RedisTail
    from app.documents.stores import DocumentStores

log = logging.getLogger(__name__)

TEND_SECONDS = 1.0
HELLO_SECONDS = 2.0
"""How long a start waits for the others to notice it."""


class Cluster:
    """One for the process, where `cluster.enabled` is set: `join`, then `enter` the house, and `leave` at the end."""

    def __init__(
        self,
        database: Database,
        replica: Replica,
        *,
        lease_seconds: float,
        new_id: NewId,
        clock_ms: Callable[[], int],
        superseded: Callable[[], None],
    ) -> None:
        """`superseded` is called when the others took this server for dead: it must end."""
        self.replica = replica
        self._database = database
        self._lease_seconds = lease_seconds
        self._changed = asyncio.Event()
        self.membership = Membership(
            database.engine,
            replica,
            lease_seconds=lease_seconds,
            changed=self._changed.set,
            superseded=superseded,
        )
        self.places = Places(self.membership)
        self.wire = Wire(database, database.url, replica_id=replica.id, new_id=new_id, clock_ms=clock_ms)
        self.sharing: Sharing | None = None
        self.copies: CopiesElsewhere | None = None
        self.roll_call: RollCall | None = None
        self.tail: RedisTail | None = None

    def use_tail(self, url: str, *, namespace: str, confirms: bool) -> RedisTail:
        """Have a tail in Redis, from `enter` on; see `RedisTail` for what it takes. Raises Unavailable: no client."""
        try:
            from app.cluster.tail import RedisTail  # loaded where it is configured
        except ModuleNotFoundError as error:
            raise Unavailable("redis.url needs the client of Redis: pip install 'hector[redis]'") from error

        self.tail = RedisTail(
            url, namespace=namespace, replica_id=self.replica.id, lease=self.membership.lease, confirms=confirms
        )
        return self.tail

    async def join(self) -> None:
        """Be one of them from now on: others may ask us."""
        await self.membership.join()

    async def enter(
        self,
        house: House,
        roster: Roster,
        created_agents: CreatedAgents,
        *,
        working: Callable[[], Working],
        metrics: Metrics,
    ) -> None:
        """Have the house share its sessions with the other replicas. `working`: what this one says of itself."""
        self.sharing = Sharing(
            house.live,
            self.wire,
            roster,
            house.history,
            replica_id=self.replica.id,
            lease=self.membership.lease,
            lease_seconds=self._lease_seconds,
            is_alive=self.membership.is_alive,
            takeover=house.recovery,
            settle_ending=house.endings.session_idle,
            receipt_of=house.tombstones.receipt_of,
            tail=self.tail,
        )
        parts: list[object] = [
            house.admission,
            house.stopping,
            house.endings,
            house.terminations,
            house.sessions,
            house.decisions,
            house.push_configs,
            house.warm,
        ]
        self.sharing.serve(operations_of(parts, roster))
        house.live.ownership = self.sharing
        house.push_configs.owner = self.replica.id
        self.roll_call = RollCall(self.wire, self._database, self.replica, working)
        self.sharing.on_takeover = metrics.took_over
        self.wire.on_call = metrics.command_sent
        house.sessions.here = word_of(self.replica.id)
        self.copies = CopiesElsewhere(self.wire, house, created_agents, self.sharing)
        self.wire.serve("look who is here", self._look)
        await self.wire.open()
        try:  # what this one makes is asked for at the others from the first moment on
            await self.wire.tell_all("look who is here", b"", seconds=HELLO_SECONDS)
        except HectorError as error:
            log.warning("not all servers have noticed this one yet: %s", error)

    async def _look(self, session_id: str, body: bytes) -> bytes:
        await self.membership.look()
        return b""

    def enter_keys(self, keys: MadeKeys) -> None:
        """Have a key that is made or revoked at one replica known at all of them before that is answered."""

        async def refresh(session_id: str, body: bytes) -> bytes:
            await keys.refresh()
            return b""

        async def tell_others() -> None:
            try:
                await self.wire.tell_all("keys changed", b"", seconds=HELLO_SECONDS)
            except HectorError as error:  # they look for themselves, twice a second
                log.warning("not all servers know the keys as they are now: %s", error)

        self.wire.serve("keys changed", refresh)
        keys.tell_others = tell_others

    def enter_documents(self, documents: DocumentStores) -> None:
        """Have the document stores of all replicas show the same."""
        assert self.copies is not None
        self.copies.share_documents(documents)

    async def run(self) -> None:
        """Tend what is shared, every second and when replicas come or go; until cancelled."""
        assert self.sharing is not None
        known = {member.id for member in self.membership.members}
        while True:
            present = {member.id for member in self.membership.members}
            for gone in known - present:
                self.sharing.replica_died(gone)
            known = present
            try:
                await self.sharing.tend()
            except HectorError as error:
                log.warning("what is shared with other servers cannot be tended: %s", error)
            except Exception:  # the edge of the task
                log.exception("what is shared with other servers was not tended, by our fault")
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), TEND_SECONDS)
            except TimeoutError:
                continue

    async def alone(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do work that only one of the replicas is to do, as long as that is this one; until cancelled."""
        task: asyncio.Task[None] | None = None
        try:
            while task is None or not task.done():
                if self.membership.is_first and task is None:
                    task = asyncio.create_task(work())
                elif not self.membership.is_first and task is not None:
                    await _end(task)
                    task = None
                await asyncio.sleep(TEND_SECONDS)
        finally:
            if task is not None:
                await _end(task)

    def begin_to_stop(self) -> None:
        """Give sessions up as soon as they are asked for, take none over."""
        if self.sharing is not None:
            self.sharing.lending.is_stopping = True

    async def leave(self) -> None:
        """Give up everything; the others go on with what is open."""
        if self.copies is not None:
            await self.copies.close()
        if self.sharing is not None:
            await self.sharing.close()
        await self.wire.close()
        await self.membership.leave()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
