"""Runtime: builds every long-lived part once, in order, hands it out, and closes it in reverse order."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from app.agents import Agent, Roster, build_agent
from app.auth.authenticate import Authenticator
from app.config.root import Config
from app.domain.errors import Unavailable
from app.domain.ids import format_id
from app.events.follow import Reading
from app.events.live import LiveSessions, Store
from app.events.log import SessionLog
from app.forgetting.forgettings import Forgettings
from app.forgetting.removal import Places
from app.forgetting.warm import WarmCopies
from app.llm.base import LLM
from app.llm.build import build_llm
from app.memory.longterm import LongTermMemory
from app.memory.memories import Memories
from app.memory.notices import notices
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.search.build import build_embedder
from app.sessions.copies import Copies
from app.sessions.ending import Endings
from app.sessions.ledger import Ledger
from app.sessions.service import Sessions
from app.sessions.termination import Terminations
from app.sessions.tombstones import Tombstones
from app.storage import settings
from app.storage.engine.database import Database
from app.storage.engine.lock import make_lock
from app.storage.engine.unit_of_work import WriteFailed
from app.storage.erasure import Erasure
from app.storage.memories import Removed
from app.turns.final import FinalMemories
from app.turns.history import History
from app.turns.memory import TurnMemory
from app.turns.recovery import end_open_turns
from app.turns.report import Reporter
from app.turns.runner import Runner
from app.turns.summaries import Summaries

if TYPE_CHECKING:  # loaded when the configuration has a store
    from app.documents.stores import DocumentStores

log = logging.getLogger(__name__)

EXPIRY_SECONDS = 30.0
RETENTION_SECONDS = 300.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def new_id(kind: str) -> str:
    return format_id(kind, milliseconds=now_ms(), randomness=secrets.randbits(65))


class Runtime:
    """Everything that lives as long as the server. `open` it, use its parts, `close` it."""

    def __init__(
        self, config: Config, *, clock_ms: Callable[[], int] = now_ms, llms: dict[str, LLM] | None = None
    ) -> None:
        """`llms`: ready models by name, which stand in for the configured ones (tests)."""
        self.config = config
        self._clock_ms = clock_ms
        self._llms: dict[str, LLM] = dict(llms or {})
        self._tasks: list[asyncio.Task[None]] = []
        self._is_ready = False
        self._is_stopping = False
        self._stop_listeners: list[Callable[[], None]] = []
        self.stop_signal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the shutdown begins."""
        self.documents: DocumentStores | None = None
        """The document stores, if any are configured."""
        self.was_superseded = False
        """Whether that is because another server works on the data."""

    async def open(self) -> None:
        """Raises Unavailable: the data is in use, or the database cannot be opened."""
        config = self.config
        self.lock = make_lock(config.storage.url)
        self.lock.on_taken = self._give_way
        await self.lock.acquire(
            url=config.server.address,
            wait_seconds=config.server.shutdown_grace.total_seconds(),
        )
        try:
            await self._open_parts()
        except WriteFailed as error:
            self.lock.release()
            raise Unavailable(f"The database cannot be written: {error}") from error
        except BaseException:
            self.lock.release()
            raise

    async def _open_parts(self) -> None:
        config = self.config
        self.metrics = Metrics()
        self.authenticator = Authenticator(
            {name: secret.get_secret_value() for name, secret in config.auth.keys.items()}
        )
        self._durable = Database(config.storage.url, pool_size=config.storage.pool_size)
        self._ephemeral = Database(None, pool_size=1)
        await self._durable.open(migrate=config.storage.migrate == "auto")
        await self._ephemeral.open()
        self.erasure = Erasure(self._durable)
        await self.erasure.cut_log()
        durable = Store(self._durable, clock_ms=self._clock_ms)
        ephemeral = Store(self._ephemeral, clock_ms=self._clock_ms)
        self.live = LiveSessions(durable, ephemeral, clock_ms=self._clock_ms)
        self._add_llms(config)
        self.roster = Roster(self._build_agents(config))
        self._build_sessions(config, Tombstones(self._durable, secret=await self._tombstone_key()))
        self._build_memory(config)
        self._build_turns(config)
        self._add_gauges()
        await self._recover(durable)
        await self.forgettings.resume()
        self._start("journal", durable.journal.run())
        self._start_sweeps(config)
        self.turns.resume_queues()
        # Else the first count, in the middle of somebody's turn, would read the table: 0.2 s without a loop.
        await asyncio.gather(*[asyncio.to_thread(llm.count_tokens, "ready") for llm in self._llms.values()])
        self._is_ready = True
        # What lives as long as the process is not looked at again: a tenth of a turn's cost (docs/benchmarks.md).
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    def _build_sessions(self, config: Config, tombstones: Tombstones) -> None:
        self.endings = Endings(
            self.live,
            clock_ms=self._clock_ms,
            timeout_ms=_milliseconds(config.sessions.timeout),
            max_duration_ms=_milliseconds(config.sessions.max_duration),
            retention_ms=_milliseconds(config.sessions.retention),
        )
        self.terminations = Terminations(self.live, tombstones, clock_ms=self._clock_ms)
        self.endings.on_erased = self.terminations.on_erased = self._clear_away
        self.sessions = Sessions(
            self.live,
            tombstones,
            self.endings,
            new_id=new_id,
            clock_ms=self._clock_ms,
            max_per_user=config.sessions.max_per_user,
        )
        self.copies = Copies(self.live, self.sessions)
        self.ledger = Ledger(self.live)
        self.history = History(self.live)

    def _build_memory(self, config: Config) -> None:
        self._embedder = build_embedder(config.embedder)
        self.memory = LongTermMemory(self._durable, new_id=new_id, clock_ms=self._clock_ms, embedder=self._embedder)
        self.memories = Memories(self.memory, self._durable, new_id=new_id, clock_ms=self._clock_ms)
        self.memory.on_removed = partial(self.erasure.touch, text=True)
        self._turn_memory = TurnMemory(self.memory, self.live)
        self._summaries = Summaries(self.live, clock_ms=self._clock_ms, metrics=self.metrics)
        self._final = FinalMemories(self.memory, self._turn_memory, self._summaries, self.live, clock_ms=self._clock_ms)
        self._summaries.on_written = self._final.keep_summary
        self.endings.on_over = self._remember_finally
        self.terminations.before_burial = self._remember_before_burial

    def _build_turns(self, config: Config) -> None:
        """And what forgets, which stops them."""
        self.turns = Runner(
            self.live,
            new_id=new_id,
            clock_ms=self._clock_ms,
            on_busy=config.sessions.on_busy,
            max_queue=config.sessions.max_queue,
            reporter=Reporter(self.metrics, Tracing()),
            memory=self._turn_memory,
            summaries=self._summaries,
        )
        warm = WarmCopies(self.live, self.turns, self._turn_memory, self._summaries, self._final)
        places = Places(self.live, self.terminations, self.memory, warm)
        self.forgettings = Forgettings(places, self.erasure, new_id=new_id, clock_ms=self._clock_ms)

    def _start_sweeps(self, config: Config) -> None:
        """What works in the background for as long as the server lives."""
        self._start("expiry", self._sweep_sessions())
        self._start("retention", self._sweep_events())
        self._start("memory", self.memory.run())
        self._start("memory retention", self._sweep_memories())
        self._prepare_memory(config)
        self._start("erasure", self.erasure.run())
        self._start_documents()
        self._start("final memories", self._guarded(self._final.resume(self.roster)))
        self._start("forgetting", self.forgettings.run())

    def _start_documents(self) -> None:
        """Nothing is loaded for it unless there are stores, or something is left of them."""
        if not self.config.document_stores:
            self._start("documents of before", self._guarded(self._forget_documents()))
            return
        self.documents = self._make_documents()
        self.documents.add_gauges(self.metrics)
        self._start("documents", self.documents.run())

    def _make_documents(self) -> DocumentStores:
        from app.documents.stores import DocumentStores

        stores = self.config.document_stores
        return DocumentStores(self._durable, stores, new_id=new_id, clock_ms=self._clock_ms, embedder=self._embedder)

    async def _forget_documents(self) -> None:
        from app.storage import documents

        if await self._durable.read(documents.stores):
            await self._make_documents().delete_others()

    def _add_gauges(self) -> None:
        gauge, writer = self.metrics.gauge, self._durable.writer
        gauge("hector_turns_running", "Turns that run now.", lambda: self.turns.running)
        gauge("hector_sessions_warm", "Sessions kept in memory.", lambda: len(self.live))
        gauge("hector_readers", "Readers attached to a session.", lambda: self.live.readers)
        gauge("hector_upstream_streams", "Answers being read from models.", lambda: self.turns.streaming)
        gauge("hector_writer_units", "Units of work written since the start.", lambda: writer.units)
        gauge("hector_writer_batches", "Transactions that wrote them.", lambda: writer.batches)
        gauge("hector_writer_waiting", "Units of work not written yet.", lambda: writer.waiting)
        gauge("hector_journal_lag_seconds", "Age of the oldest text not written yet.", self.live.durable.journal.lag)

    async def _recover(self, durable: Store) -> None:
        interrupted, queued = await end_open_turns(durable, clock_ms=self._clock_ms)
        if interrupted:
            log.warning("%d turns of the process before were interrupted; their text is kept", interrupted)
        for turn in queued:
            session_log = await self.live.open(turn.session_id)
            if session_log is None:
                continue
            agent = self.roster.find(session_log.session.agent)
            if agent is None:
                log.warning("turn %s waits: its agent is not configured any more", turn.turn_id)
                continue
            self.turns.adopt(session_log, agent, turn, grace_seconds=grace_of(agent.config.streaming.disconnect_grace))
        await self.endings.settle()

    def _remember_finally(self, session_log: SessionLog) -> None:
        agent = self.roster.find(session_log.session.agent)
        if agent is not None:
            self._final.session_over(session_log, agent)

    async def _remember_before_burial(self, session_log: SessionLog, forget_all: bool) -> None:
        agent = self.roster.find(session_log.session.agent)
        if agent is not None:
            await self._final.before_burial(session_log, agent, forget_all)

    def _clear_away(self, removed: Removed) -> None:
        """A session's rows were deleted, memories perhaps among them: no copy of them stays."""
        self.memory.drop(removed)
        self.erasure.touch()

    def _prepare_memory(self, config: Config) -> None:
        for notice in notices(config):
            log.warning("%s", notice)
        if config.embedder.type == "local" and any(agent.memory.longterm for agent in config.agents.values()):
            self._start("loading of the embedder", self.memory.warm_up())

    async def _tombstone_key(self) -> bytes:
        key = await self._durable.read(settings.find_tombstone_key)
        if key is None:
            key, unit = settings.make_tombstone_key()
            await self._durable.submit(unit)
        return key

    def read(self, session_log: SessionLog, *, after: int, from_start: bool = False, merge: bool = True) -> Reading:
        """A reading of a session; enter it to count as a reader."""
        agent = self.roster.find(session_log.session.agent)
        return Reading(
            session_log,
            self.live.store_of(session_log).journal,
            after=after,
            lag_bytes=agent.config.streaming.buffer_size if agent is not None else 65536,
            from_start=from_start,
            merge=merge,
        )

    async def reload(self, config: Config) -> list[str]:
        """Serve the agents and models of `config` from now on; returns what it changes beside them, which waits.

        Running turns end with the model they began with; a model nobody uses any more is closed then.
        """
        fields = type(config).model_fields
        waits = [
            name
            for name in fields
            if name not in ("agents", "llms") and getattr(config, name) != getattr(self.config, name)
        ]
        changed = {name for name in self._llms if config.llms.get(name) != self.config.llms.get(name)}
        retired = [self._llms.pop(name) for name in changed if name in self.config.llms]
        self._add_llms(config)
        self.roster.replace(self._build_agents(config))
        self.config = self.config.model_copy(update={"agents": config.agents, "llms": config.llms})
        self._prepare_memory(config)
        for llm in retired:
            self._start(f"retirement of {llm.name}", self._retire(llm))
        return waits

    async def _retire(self, llm: LLM) -> None:
        await self.turns.wait_unused(llm)
        await llm.close()

    def _add_llms(self, config: Config) -> None:
        for name, llm in config.llms.items():
            if name not in self._llms:
                self._llms[name] = build_llm(name, llm)

    def _build_agents(self, config: Config) -> dict[str, Agent]:
        return {
            name: build_agent(
                name, agent, self._llms[agent.llm], summarizer=self._llms.get(config.summarizer_of(name) or "")
            )
            for name, agent in config.agents.items()
        }

    async def check(self) -> None:
        """Raise Unavailable unless the server can work."""
        if not self.lock.is_held:
            raise Unavailable("The lock on the database was lost; it is being taken again.")
        await self._durable.check()

    @property
    def is_ready(self) -> bool:
        return self._is_ready and not self._is_stopping

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def _give_way(self) -> None:
        """Another server holds our data: nothing more can be written here, so there is nothing to stay for."""
        log.error("another server has taken over this database; this one stops")
        self.was_superseded = True
        self.begin_shutdown()

    def on_stop(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the shutdown begins."""
        self._stop_listeners.append(listener)

    def begin_shutdown(self) -> None:
        """Take no more messages, send the readers away; running turns go on. Idempotent."""
        if self._is_stopping:
            return
        self._is_stopping = True
        if self._is_ready:
            self.turns.begin_shutdown()
        self.stop_signal.set_result(None)
        for listener in self._stop_listeners:
            listener()

    async def close(self) -> None:
        """Wait for the running turns (bounded), then close everything in reverse order."""
        self.begin_shutdown()
        if self._is_ready:
            await self.turns.finish_shutdown(grace_seconds=self.config.server.shutdown_grace.total_seconds())
            self._is_ready = False
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if hasattr(self, "sessions"):
            await self.forgettings.close()
            await self.terminations.close()
            await self.endings.close()
            await self._final.close()
            await self._summaries.close()
            await self._turn_memory.close()
            await self.memory.close()
            if self._embedder is not None:
                await self._embedder.close()
        for llm in self._llms.values():
            await llm.close()
        if hasattr(self, "_durable"):
            await self._durable.close()
            await self._ephemeral.close()
        self.lock.release()

    async def _sweep_sessions(self) -> None:
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            await self._guarded(self.endings.expire_due())
            await self._guarded(self.endings.delete_old())

    async def _sweep_events(self) -> None:
        retention_ms = _milliseconds(self.config.events.retention) or 0
        while True:
            await self._guarded(self.live.durable.journal.expire(retention_ms=retention_ms))
            await asyncio.sleep(RETENTION_SECONDS)

    async def _sweep_memories(self) -> None:
        while True:
            for agent in list(self.roster):
                settings = agent.config.memory.longterm
                if settings is not None and settings.retention is not None:
                    before_ms = self._clock_ms() - (_milliseconds(settings.retention) or 0)
                    await self._guarded(self.memory.expire(agent.name, before_ms=before_ms))
            await asyncio.sleep(RETENTION_SECONDS)

    async def _guarded(self, sweep: Coroutine[Any, Any, object]) -> None:
        try:
            await sweep
        except Exception:  # the edge of a background sweep: the next one tries again
            log.exception("a sweep failed")

    def _start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(coroutine, name=name))


def grace_of(grace: timedelta | None) -> float | None:
    return None if grace is None else grace.total_seconds()


def _milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds() * 1000)
