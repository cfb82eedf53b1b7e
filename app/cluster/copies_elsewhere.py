"""CopiesElsewhere: what several servers keep in memory of the same rows, and how it stays true on all of them.

A server that deletes or changes such rows tells the others, which drop or read again what they have; where a promise
hangs on it, it waits until all have. What could not be told is told again until the server has heard it or is dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from app.cluster.sharing import Sharing
from app.cluster.wire import Wire
from app.created_agents import CreatedAgents
from app.domain.errors import Unavailable
from app.domain.forgetting import DeletionRequest
from app.forgetting.elsewhere import Gone
from app.house import House
from app.observability.tasks import Tasks
from app.storage.engine.unit_of_work import WriteConflict, WriteFailed

if TYPE_CHECKING:  # loaded where there are stores
    from app.documents.stores import DocumentStores

log = logging.getLogger(__name__)

TOLD_SECONDS = 10.0
"""How long an answer waits for the other servers. A dead one counts as told when its lease is over."""
FORGET_SECONDS = 30.0
"""The same where they have to end turns first."""
RETRY_SECONDS = 1.0


class CopiesElsewhere:
    """The `OtherMemories`, and the `OtherServers` of forgettings, created agents and documents, of one replica."""

    def __init__(self, wire: Wire, house: House, created_agents: CreatedAgents, sharing: Sharing) -> None:
        self._wire = wire
        self._house = house
        self._created_agents = created_agents
        self._sharing = sharing
        self._tasks = Tasks()
        self._untold: set[asyncio.Task[None]] = set()
        self._audiences: set[str] = set()
        self._dropping: asyncio.Task[None] | None = None
        self._documents: DocumentStores | None = None
        wire.serve("drop memories", self._drop_memories)
        wire.serve("embed again", self._embed_again)
        wire.serve("store changed", self._store_changed)
        wire.serve("update store", self._update_store)
        wire.serve("forget", self._forget)
        wire.serve("agent changed", self._agent_changed)
        wire.serve("agent ends", self._agent_ends)
        house.longterm.others = self
        house.forgettings.others = self
        created_agents.others = self

    def share_documents(self, documents: DocumentStores) -> None:
        self._documents = documents
        documents.others = self

    async def close(self) -> None:
        await self._tasks.cancel()

    # -- telling --------------------------------------------------------------------------------

    def drop(self, audiences: Collection[str]) -> None:
        """See `OtherMemories.drop`. What gathers while the others are told is told together."""
        self._audiences |= set(audiences)
        if self._dropping is None or self._dropping.done():
            self._dropping = self._start(self._tell_dropped)

    def embed_again(self) -> None:
        """See `OtherMemories.embed_again`."""
        self._start_telling("embed again", b"")

    async def told(self) -> None:
        """See `OtherMemories.told`."""
        await self._wait(set(self._untold))

    async def forget(self, request: DeletionRequest, gone: Gone) -> None:
        """See `OtherServers.forget`. The request itself is carried out again until this succeeds."""
        body = orjson.dumps({"request": asdict(request), "gone": asdict(gone)})
        await self._wire.tell_all("forget", body, seconds=FORGET_SECONDS)

    async def agent_changed(self, agent_id: str) -> None:
        """See `OtherServers.agent_changed`."""
        await self._wait({self._start_telling("agent changed", agent_id.encode())})

    async def agent_ends(self, agent_id: str) -> None:
        """See `OtherServers.agent_ends`."""
        await self._wire.tell_all("agent ends", agent_id.encode(), seconds=FORGET_SECONDS)

    def store_changed(self, name: str) -> None:
        """See `app.documents.stores.OtherServers`."""
        self._start_telling("store changed", name.encode())

    def schedule(self, name: str, *, reread: bool) -> None:
        """See `app.documents.stores.OtherServers`."""
        self._start_telling("update store", orjson.dumps([name, reread]))

    async def _tell_dropped(self) -> None:
        while self._audiences:
            some, self._audiences = self._audiences, set()
            await self._tell("drop memories", orjson.dumps(sorted(some)))

    async def _tell(self, operation: str, body: bytes) -> None:
        """Tell all, however long it takes."""
        while True:
            try:
                await self._wire.tell_all(operation, body, seconds=TOLD_SECONDS)
            except Unavailable as error:
                log.warning("other servers are told again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def _start_telling(self, operation: str, body: bytes) -> asyncio.Task[None]:
        return self._start(lambda: self._tell(operation, body))

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        task = self._tasks.start(work(), name="telling other servers")
        self._untold.add(task)
        task.add_done_callback(self._untold.discard)
        return task

    async def _wait(self, tasks: set[asyncio.Task[None]]) -> None:
        if tasks and (await asyncio.wait(tasks, timeout=TOLD_SECONDS))[1]:
            raise Unavailable("It is done, but another server has not heard of it yet; it will within seconds.")

    # -- being told -----------------------------------------------------------------------------

    async def _drop_memories(self, session_id: str, body: bytes) -> bytes:
        self._house.longterm.drop_copies(orjson.loads(body))
        return b""

    async def _embed_again(self, session_id: str, body: bytes) -> bytes:
        self._house.longterm.start_over()
        return b""

    async def _forget(self, session_id: str, body: bytes) -> bytes:
        told = orjson.loads(body)
        gone = Gone(tuple(told["gone"]["sources"]), tuple(told["gone"]["redacted"]))
        try:
            await self._house.forgettings.forget_here(DeletionRequest(**told["request"]), gone)
        except (WriteFailed, WriteConflict) as error:
            raise Unavailable(f"Another server could not forget it yet: {error}") from error
        for redacted in gone.redacted:
            await self._sharing.read_again(redacted)
        return b""

    async def _agent_changed(self, session_id: str, body: bytes) -> bytes:
        await self._created_agents.read_again(body.decode())
        return b""

    async def _agent_ends(self, session_id: str, body: bytes) -> bytes:
        await self._created_agents.retire(body.decode())
        return b""

    async def _store_changed(self, session_id: str, body: bytes) -> bytes:
        if self._documents is not None:
            self._documents.drop_copies(body.decode())
        return b""

    async def _update_store(self, session_id: str, body: bytes) -> bytes:
        if self._documents is not None:
            name, reread = orjson.loads(body)
            self._documents.schedule_here(name, reread=reread)
        return b""
