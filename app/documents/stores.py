"""DocumentStores: the document stores of a server, updated in the background, listed and searched."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from app.config.documents import DocumentStoreConfig
from app.documents.embedding import chunk_backlog
from app.documents.indexer import Indexer, Progress
from app.documents.reading import ReadingFailed, ReadingProcess
from app.documents.search import Search, SearchResult
from app.documents.watch import MISSING, Watch, is_installed
from app.domain.errors import Unavailable, store_not_found
from app.domain.ids import NewId
from app.observability.metrics import Metrics
from app.search import vectors
from app.search.embedder import Embedder
from app.storage import documents
from app.storage.documents import Counts, StoredFile
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import WriteConflict, WriteFailed

log = logging.getLogger(__name__)

LEAST_SECONDS = 1.0
RETRY_SECONDS = 30.0
"""Until the next update after one that failed."""


Status = Literal["reading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class StoreState:
    """The state of a store. `failed`: the last update was aborted and is tried again soon; `problems` say why.

    `left`: files that the present update has not compared yet.
    """

    name: str
    status: Status
    counts: Counts
    left: int
    checked_ms: int | None
    problems: tuple[str, ...]


class OtherServers(Protocol):
    """The other servers of this service, one of which keeps the stores up to date."""

    def store_changed(self, name: str) -> None:
        """Have them drop what they have in memory of the store. Does not wait."""
        ...

    def schedule(self, name: str, *, reread: bool) -> None:
        """Have the one that runs the stores update it. Does not wait."""
        ...


class DocumentStores:
    """`run` is the background task; cancelling it ends everything it started."""

    def __init__(
        self,
        database: Database,
        stores: Mapping[str, DocumentStoreConfig],
        *,
        new_id: NewId,
        clock_ms: Callable[[], int],
        embedder: Embedder | None = None,
        reading: ReadingProcess | None = None,
        least_seconds: float = LEAST_SECONDS,
    ) -> None:
        """`least_seconds`: the shortest time between two updates of a store."""
        self._database = database
        self._stores = dict(stores)
        self._bases = {name: _base(store) for name, store in stores.items()}
        embedder = embedder if vectors.is_available() else None
        self._embedder = embedder
        self._search = Search(database, embedder)
        self._indexer = Indexer(database, new_id=new_id, clock_ms=clock_ms, on_change=self._changed, reading=reading)
        self.others: OtherServers | None = None
        """Set where several servers are one service."""
        self._is_running = False
        self._embedding = chunk_backlog(database, embedder, list(stores)) if embedder is not None else None
        self._watch = Watch(stores, self.schedule)
        self._progress = {name: Progress() for name in stores}
        self._counts = {name: Counts() for name in stores}
        self._wanted = set(stores)
        self._reread: set[str] = set()
        self._due: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._least_seconds = least_seconds
        self._wake = asyncio.Event()
        self._wake.set()

    # -- for the doors ----------------------------------------------------------------------------------------

    async def states(self) -> list[StoreState]:
        return [await self.state(name) for name in self._stores]

    async def state(self, name: str) -> StoreState:
        """Raises NotFound (`store_not_found`)."""
        self._require([name])
        progress = self._progress[name]
        counts = await self._database.read(partial(documents.counts, store=name, model=self.model or ""))
        problems = tuple([self._told(name, problem) for problem in progress.problems])
        problems += (progress.failure,) if progress.failure is not None else ()
        return StoreState(name, self._status(name), counts, progress.left, progress.checked_ms, problems)

    async def files(
        self, name: str, *, after: str = "", limit: int = 50, only_problems: bool = False
    ) -> Sequence[StoredFile]:
        """A page of a store's files, ordered by path. `after`: a path as `shown` returns it. Raises NotFound."""
        self._require([name])
        last = os.path.join(self._bases[name], after) if after else ""
        query = partial(documents.page, store=name, after=last, limit=limit, only_problems=only_problems)
        return await self._database.read(query)

    async def search(self, question: str, names: Iterable[str] = (), *, limit: int = 10) -> SearchResult:
        """The best chunks of the named stores, or of all. Raises NotFound."""
        wanted = list(dict.fromkeys(names)) or list(self._stores)
        self._require(wanted)
        return await self._search.search(question, wanted, limit=limit)

    def schedule(self, name: str, *, reread: bool = False) -> None:
        """Schedule an update of a store; with `reread` every file is read again. Raises NotFound."""
        self._require([name])
        if self.others is not None and not self._is_running:
            self.others.schedule(name, reread=reread)
        self.schedule_here(name, reread=reread)

    def schedule_here(self, name: str, *, reread: bool = False) -> None:
        """Schedule an update for when the stores are run by this server, if that knows the store."""
        if name not in self._stores:
            return
        self._wanted.add(name)
        if reread:
            self._reread.add(name)
        self._wake.set()

    def drop_copies(self, name: str) -> None:
        """Another server has changed the index of the store."""
        self._search.drop(name)

    def _changed(self, name: str) -> None:
        self._search.drop(name)
        if self.others is not None:
            self.others.store_changed(name)

    def is_complete(self, names: Iterable[str] = ()) -> bool:
        """Whether the named stores, or all, are up to date with every change noticed so far."""
        return all(self._status(name) == "ready" for name in list(names) or self._stores)

    def shown(self, name: str, path: str) -> str:
        """A path as the API shows it: relative to the common parent folder of the store's paths."""
        return os.path.relpath(path, self._bases[name])

    def _told(self, name: str, problem: str) -> str:
        """A problem of a folder as the API shows it, with a path as `shown` returns it; the log has the whole one."""
        for base in (self._bases[name], _base(self._stores[name], resolve=os.path.abspath)):
            problem = problem.replace(base.rstrip(os.sep) + os.sep, "")
        return problem

    @property
    def model(self) -> str | None:
        """The embedder's model; `None` when documents are found by keyword only."""
        return self._embedder.model if self._embedder is not None else None

    # -- figures ----------------------------------------------------------------------------------------------

    def add_gauges(self, metrics: Metrics) -> None:
        def total(figure: Callable[[Counts], int]) -> Callable[[], int]:
            return lambda: sum([figure(counts) for counts in self._counts.values()])

        gauge, progress = metrics.gauge, self._progress.values()
        gauge("hector_documents", "Documents of all stores.", total(lambda counts: counts.files))
        gauge("hector_document_chunks", "Their searchable pieces.", total(lambda counts: counts.chunks))
        gauge(
            "hector_documents_unread",
            "Documents not read, or only in part.",
            total(lambda counts: counts.problems),
        )
        gauge("hector_documents_left", "Documents not compared yet.", lambda: sum([one.left for one in progress]))

    # -- in the background ------------------------------------------------------------------------------------

    async def run(self) -> None:
        if any(store.watch for store in self._stores.values()) and not is_installed():
            log.warning("document stores: %s", MISSING)
        self._is_running = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_up(), name="documents")
                group.create_task(self._watch.run(), name="watch over documents")
                if self._embedding is not None:
                    group.create_task(self._embedding.run(), name="vectors of documents")
        finally:
            self._is_running = False
            await self._indexer.close()
            await self._search.close()

    async def _keep_up(self) -> None:
        await self._guarded("of before", self.delete_others)
        while True:
            names = await self._next()
            for name in names:
                await self._update_one(name)

    async def _update_one(self, name: str) -> None:
        reread = name in self._reread
        self._wanted.discard(name)
        self._reread.discard(name)
        started = time.monotonic()
        self._not_before[name] = started + self._least_seconds
        rescan = self._stores[name].rescan
        failure = await self._guarded(name, partial(self._update, name, reread))
        self._progress[name].failure = failure
        if failure is None:
            self._due[name] = started + (rescan.total_seconds() if rescan is not None else math.inf)
        else:
            self._due[name] = started + RETRY_SECONDS
            self._reread |= {name} if reread else set()

    async def _next(self) -> list[str]:
        """Wait until at least one store is due; returns the stores that are."""
        while True:
            self._wake.clear()
            now = time.monotonic()
            times = {name: self._time_of(name) for name in self._stores}
            names = [name for name, at in times.items() if at <= now]
            if names:
                return names
            wait = min(times.values(), default=math.inf) - now
            try:
                async with asyncio.timeout(wait if wait < math.inf else None):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _time_of(self, name: str) -> float:
        at = 0.0 if name in self._wanted else self._due.get(name, math.inf)
        return max(at, self._not_before.get(name, 0.0))

    async def _update(self, name: str, reread: bool) -> None:
        if await asyncio.to_thread(self._watch.has_moved):
            self._watch.restart()
        await self._indexer.update(name, self._stores[name], self._progress[name], reread=reread)
        self._counts[name] = await self._database.read(partial(documents.counts, store=name, model=self.model or ""))
        if self._embedding is not None:
            self._embedding.wake()

    async def delete_others(self) -> None:
        """Delete everything stored for stores that the configuration no longer names."""
        for name in await self._database.read(documents.stores):
            if name not in self._stores:
                await self._indexer.delete(name)
                log.info("document store %s is no longer configured: its index is deleted", name)

    async def _guarded(self, name: str, act: Callable[[], Awaitable[object]]) -> str | None:
        """Run `act`; returns why it failed, or `None`. A failure of one store does not stop the others."""
        try:
            await act()
        except (WriteFailed, WriteConflict, Unavailable, ReadingFailed) as error:
            log.warning("document store %s could not be updated: %s", name, error)
            return f"could not be updated: {error}"
        except Exception:  # the edge of a background sweep: the next one tries again
            log.exception("document store %s could not be updated", name)
            return "could not be updated; see the server log"
        return None

    def _status(self, name: str) -> Status:
        progress = self._progress[name]
        if self.others is not None and not self._is_running:
            return "ready"  # as far as this server knows: another one reads
        if name in self._wanted or (progress.is_working and progress.failure is None):
            return "reading"
        return "ready" if progress.failure is None else "failed"

    def _require(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._stores:
                raise store_not_found(name)


def _base(store: DocumentStoreConfig, *, resolve: Callable[[Path], str] = os.path.realpath) -> str:
    roots = [resolve(path) for path in store.paths]
    return os.path.commonpath([os.path.dirname(root) for root in roots])
