"""Runtime: opens every long-lived part in order, hands it out, and closes it in reverse order. No rule lives here."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from app import __version__
from app.agents import Agent, Roster, build_agents, build_on
from app.auth.authenticate import Authenticator
from app.auth.brake import Brake
from app.auth.made_keys import MadeKeys
from app.config.agent import AgentConfig
from app.config.load import ConfigError
from app.config.root import Config
from app.config.server import JwtConfig
from app.config.version import Changes, find_changes, reloaded
from app.conversation.conversation import Conversation
from app.created_agents import CreatedAgents, NoSuchLLM
from app.domain.errors import Conflict, Unavailable
from app.domain.ids import format_id
from app.domain.replica import ReplicaState, Working
from app.house import House, build
from app.limits.counters import Counters, LocalCounters
from app.limits.limits import Limits
from app.llm.base import LLM
from app.llm.build import build_llm
from app.lookup import Lookup
from app.memory.notices import notices
from app.observability.lag import LoopLag
from app.observability.metrics import Metrics
from app.search.build import build_embedder
from app.sessions.tickets import Tickets
from app.storage import settings
from app.storage.engine.database import Database
from app.storage.engine.lock import make_lock
from app.storage.engine.unit_of_work import WriteFailed
from app.storage.memories import Removed
from app.storage.replicas import Replica
from app.sweeps import guarded, sweep_acts, sweep_events, sweep_memories, sweep_sessions
from app.tools.base import ToolContext, ToolOutcome
from app.tools.catalog import build_catalog
from app.tools.ports import AgentCall, Ports
from app.tools.search import Hit
from app.turns.acting import ActLimits

if TYPE_CHECKING:  # loaded when the configuration has stores, tokens, webhooks or other servers
    from app.auth.tokens import Tokens
    from app.cluster.cluster import Cluster
    from app.documents.stores import DocumentStores
    from app.webhooks.webhooks import Webhooks

log = logging.getLogger(__name__)


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
        self._stack = AsyncExitStack()
        self._is_ready = False
        self._is_stopping = False
        self._stop_listeners: list[Callable[[], None]] = []
        self.stop_signal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the shutdown begins."""
        self.grpc_port: int | None = None
        """The port of gRPC, once it is open."""
        self.lag = LoopLag(config.server.max_lag.total_seconds())
        self.cluster: Cluster | None = None
        """This server as one of several, if it is."""
        self.documents: DocumentStores | None = None
        """The document stores, if any are configured."""
        self.read_again: Callable[[], Config] = lambda: self.config
        """Reads the configuration as a reload does. Raises ConfigError."""
        self.was_superseded = False
        """Whether that is because another server works on the data."""

    # -- opening --------------------------------------------------------------------------------

    async def open(self) -> None:
        """Raises Unavailable: the data is in use, or the database cannot be opened."""
        config = self.config
        self.lock = make_lock(config.storage.url, is_shared=config.is_shared)
        self.lock.on_taken = self._give_way
        await self.lock.acquire(
            url=config.server.address,
            wait_seconds=config.server.shutdown_grace.total_seconds(),
        )
        self._stack.callback(self.lock.release)
        try:
            with _write_failures_told():
                await self._open_parts(config)
        except BaseException:
            await self._stack.aclose()
            raise

    async def _open_parts(self, config: Config) -> None:
        self.metrics = Metrics()
        self.replica = self._make_replica(config)
        self.metrics.describe(
            replica_id=self.replica.id,
            name=self.replica.name,
            address=self.replica.address,
            version=__version__,
        )
        replica = self.replica if config.is_shared else None
        self._durable = await self._open_database(config.storage.url, config, replica)
        if replica is not None:
            await self._join(config, replica)
        await self._open_auth(config)
        ephemeral = await self._open_database(None, config)
        self._stack.push_async_callback(self._close_llms)
        self._add_llms(config)
        self.roster = Roster(build_agents(config, self._llms))
        self.embedder = build_embedder(config.embedder)
        if self.embedder is not None:
            self._stack.push_async_callback(self.embedder.close)
        key = await self._server_key()
        self.webhooks = self._make_webhooks(config, ephemeral)
        self.catalog = build_catalog(
            config, Ports(find=self._look_up, read_whole=self._read_whole, call_agent=self._call_agent)
        )
        self._stack.push_async_callback(self.catalog.close)
        self.house = build(
            self._durable,
            ephemeral,
            self.roster,
            config.sessions,
            tombstone_key=key,
            new_id=new_id,
            clock_ms=self._clock_ms,
            embedder=self.embedder,
            metrics=self.metrics,
            toolbox=self.catalog,
            limits=_limits_of(config),
            flow=config.security.flow,
            max_sessions=config.limits.principal.sessions,
            address=config.server.public_url or config.server.address,
            outbox=self.webhooks.outbox if self.webhooks is not None else None,
        )
        self._hand_out(self.house)
        self.created_agents = CreatedAgents(
            self._durable,
            self.roster,
            self.house.live,
            self.house.terminations,
            build=self._build_created,
            on_deleted=self._drop_agent,
            on_gone=self.catalog.drop,
            new_id=new_id,
            clock_ms=self._clock_ms,
        )
        self.tickets = Tickets(
            self.house.live, self.house.tombstones, self.authenticator, secret=key, clock_ms=self._clock_ms
        )
        self.limits = self._make_limits(config, key) if config.limits.is_on else None
        self.conversation = Conversation(
            self.house,
            self.roster,
            max_message=config.server.max_message,
            heartbeat_seconds=config.server.heartbeat.total_seconds(),
            stop_signal=self.stop_signal,
            limits=self.limits,
        )
        self._stack.push_async_callback(self.house.close)
        self._stack.push_async_callback(self._end_tasks)
        await self.house.erasure.cut_log()
        self._add_gauges(self.house)
        await self.catalog.open()
        for name, problem in self.catalog.broken.items():
            log.warning("tool %s is not there: %s", name, problem)
        for agent in self.roster:
            if not agent.llm.takes_tools and self.catalog.for_agent(agent) is not None:
                log.warning("agent %s answers without its tools: its model %s calls none", agent.name, agent.llm.name)
        await self.created_agents.load()
        if self.cluster is not None:
            self.cluster.enter_keys(self.made_keys)
            await self._share(config, self.cluster, key)
        elif interrupted := await self.house.recover():
            log.warning("%d turns of the process before were interrupted; their text is kept", interrupted)
        self._start_tasks(config, self.house)
        self.house.runner.resume_queues()
        # Else the first count, in the middle of a turn, would read the table: 0.2 s without a loop.
        await asyncio.gather(*[asyncio.to_thread(llm.count_tokens, "ready") for llm in self._llms.values()])
        self._is_ready = True
        # What lives as long as the process is not looked at again: a tenth of a turn's cost (docs/benchmarks.md).
        gc.collect()
        gc.freeze()

    async def _share(self, config: Config, cluster: Cluster, key: bytes) -> None:
        """Share the sessions with the other servers. `key`: a secret of the database."""
        if config.redis.url is not None:
            # The name keeps services apart that use one Redis.
            namespace = f"hector:{hashlib.blake2b(key, digest_size=8, person=b'tail').hexdigest()}"
            confirms = config.events.confirm == "tail"
            tail = cluster.use_tail(config.redis.url.get_secret_value(), namespace=namespace, confirms=confirms)
            self.metrics.gauge("hector_tail_up", "Whether Redis carries the newest events.", lambda: float(tail.is_up))
            self.metrics.counter("hector_tail_entries", "Batches of events added to it.", lambda: tail.writer.entries)
            self._start("the tail", tail.run())
        await cluster.enter(self.house, self.roster, self.created_agents, working=self._working, metrics=self.metrics)
        self._start("sharing with other servers", cluster.run())

    def _make_webhooks(self, config: Config, ephemeral: Database) -> Webhooks | None:
        """Without any configured, none: no event is looked at for them, and their room is not loaded."""
        if not config.webhooks and not config.webhook_delivery.per_session:
            return None
        from app.webhooks.webhooks import Webhooks

        webhooks = Webhooks(
            config.webhooks,
            config.webhook_delivery,
            self._durable,
            ephemeral,
            self.metrics,
            new_id=new_id,
            clock_ms=self._clock_ms,
        )
        webhooks.add_gauges(self.metrics)
        self._stack.push_async_callback(webhooks.close)
        return webhooks

    def _make_limits(self, config: Config, key: bytes) -> Limits:
        counters: Counters = LocalCounters()
        if config.is_shared:
            from app.limits.shared import SharedCounters

            counters = shared = SharedCounters(self._durable, new_id("srv"), secret=key)
            self._stack.push_async_callback(shared.close)
            self._start("shared limits", shared.run())
        return Limits(config.limits, counters, self.house.ledger.tokens_on, clock_ms=self._clock_ms)

    def _build_created(self, name: str, agent: AgentConfig) -> Agent:
        if agent.llm not in self.config.llms:
            raise NoSuchLLM(f"there is no llm {agent.llm!r} in the configuration any more")
        return build_on(self.config, self._llms, name, agent)

    def _drop_agent(self, name: str, removed: Removed) -> None:
        """An agent that a client created was deleted through this server."""
        self.house.aftermath.session_erased(removed)

    async def _read_whole(self, session_id: str, result_id: str) -> str | None:
        """A stored result, for the tool that reads on in it."""
        session_log = await self.house.live.open(session_id)
        return await self.house.decisions.stored_result(session_log, result_id) if session_log is not None else None

    async def _look_up(self, query: str, stores: Sequence[str], limit: int, context: ToolContext) -> Sequence[Hit]:
        lookup = Lookup(self.house.live, self.roster, self.house.longterm, lambda: self.documents)
        return await lookup.find(query, stores, limit, context)

    async def _call_agent(self, call: AgentCall, context: ToolContext) -> ToolOutcome:
        return await self.house.delegation.call(call, context)

    def _make_replica(self, config: Config) -> Replica:
        name = config.cluster.name or f"{config.server.host}:{config.server.port}"
        address = config.cluster.address or config.server.address
        return Replica(f"{name}-{secrets.token_hex(4)}", name, address, self._clock_ms(), 0.0)

    async def _join(self, config: Config, replica: Replica) -> None:
        # Loaded where several servers share the database.
        from app.cluster.cluster import Cluster

        self.cluster = Cluster(
            self._durable,
            replica,
            lease_seconds=config.cluster.lease.total_seconds(),
            new_id=new_id,
            clock_ms=self._clock_ms,
            superseded=self._give_way,
        )
        await self.cluster.join()
        self._stack.push_async_callback(self.cluster.leave)

    async def _open_database(self, url: str | None, config: Config, replica: Replica | None = None) -> Database:
        pool_size = config.storage.pool_size if url is not None else 1
        database = Database(url, pool_size=pool_size, replica_id=replica.id if replica is not None else None)
        self._stack.push_async_callback(database.close)
        await database.open(migrate=config.storage.migrate == "auto")
        return database

    async def _open_auth(self, config: Config) -> None:
        auth = config.auth
        self.made_keys = MadeKeys(
            self._durable,
            configured=auth.keys,
            most=auth.max_keys,
            new_id=new_id,
            clock_ms=self._clock_ms,
            is_shared=config.is_shared,
        )
        await self.made_keys.load()
        self.authenticator = Authenticator(
            auth.keys,
            Brake(allowed=auth.max_wrong_keys, longest_seconds=auth.max_wrong_key_wait.total_seconds()),
            has_one_user=config.has_one_user,
            made=self.made_keys,
            tokens=await self._open_tokens(auth.jwt) if auth.jwt is not None else None,
        )

    async def _open_tokens(self, config: JwtConfig) -> Tokens:
        """The server starts without the issuer's keys, too: those who have a key need none."""
        from app.auth.signers import Signers, from_file, from_url
        from app.auth.tokens import Tokens

        read = from_file(config.jwks_file) if config.jwks_file is not None else from_url(config.jwks_url or "")
        signers = Signers(read, str(config.jwks_file or config.jwks_url))
        await signers.load()
        self._start("keys of tokens", signers.run())
        return Tokens(config, signers)

    async def _server_key(self) -> bytes:
        key = await self._durable.read(settings.find_tombstone_key)
        if key is None:
            key, unit = settings.make_tombstone_key()
            await self._durable.submit(unit)
        return key

    def _hand_out(self, house: House) -> None:
        """The parts of the house that doors use."""
        self.live = house.live
        self.sessions = house.sessions
        self.endings = house.endings
        self.terminations = house.terminations
        self.copies = house.copies
        self.ledger = house.ledger
        self.history = house.history
        self.memory = house.longterm
        self.memories = house.memories
        self.admission = house.admission
        self.stopping = house.stopping
        self.forgettings = house.forgettings

    def _add_gauges(self, house: House) -> None:
        gauge, writer, runner = self.metrics.gauge, self._durable.writer, house.runner
        gauge("hector_turns_running", "Turns that run now.", lambda: len(runner.running))
        gauge("hector_loop_lag_seconds", "How late the server is with what is due.", lambda: self.lag.seconds)
        gauge("hector_sessions_warm", "Sessions kept in memory.", lambda: len(house.live))
        gauge(
            "hector_terminations_unstored",
            "Terminated sessions that are not erased yet, because the database cannot write.",
            lambda: len(house.tombstones.unstored),
        )
        gauge("hector_sessions_owned", "Warm sessions that this server works on.", self._owned_sessions)
        gauge("hector_mirrors", "Sessions of other servers that are shown here.", lambda: self._working().mirrors)
        gauge("hector_readers", "Readers attached to a session.", lambda: house.live.readers)
        gauge("hector_upstream_streams", "Answers being read from models.", lambda: runner.streaming)
        self.metrics.counter("hector_writer_units", "Units of work written.", lambda: writer.units)
        self.metrics.counter("hector_writer_batches", "Transactions that wrote them.", lambda: writer.batches)
        gauge("hector_writer_waiting", "Units of work not written yet.", lambda: writer.waiting)
        gauge("hector_journal_lag_seconds", "Age of the oldest text not written yet.", house.live.durable.journal.lag)

    def _start_tasks(self, config: Config, house: House) -> None:
        """What works in the background for as long as the server lives."""
        self._start("journal", house.live.durable.journal.run())
        if config.auth.asks:
            self._start("keys", self.made_keys.run())
        self._start_alone("expiry", lambda: sweep_sessions(house))
        self._start_alone("expiry of approvals", lambda: sweep_acts(house))
        self._start_alone("retention", lambda: sweep_events(house, retention=config.events.retention))
        self._start_alone("memory", house.longterm.run)
        self._start_alone("memory retention", lambda: sweep_memories(house, self.roster, clock_ms=self._clock_ms))
        self._start("erasure", house.erasure.run())
        self._start_alone("final memories", lambda: guarded(house.final.resume))
        self._start("forgetting", house.forgettings.run())
        if self.cluster is not None:
            self._start("forgetting of before", self.cluster.alone(house.forgettings.finish_old))
        if self.webhooks is not None:
            self._start("webhooks", self.webhooks.run())
        else:
            self._start("webhooks of before", guarded(self._forget_webhooks))
        self._prepare_memory(config)
        self._start_documents(config)

    def _prepare_memory(self, config: Config) -> None:
        for notice in notices(config):
            log.warning("%s", notice)
        if config.embedder.type == "local" and any(agent.memory.longterm for agent in config.agents.values()):
            self._start("loading of the embedder", self.house.longterm.warm_up())

    def _start_documents(self, config: Config) -> None:
        """Nothing is loaded for it unless there are stores, or something is left of them."""
        if not config.document_stores:
            self._start("documents of before", guarded(self._forget_documents))
            return
        self.documents = self._make_documents()
        self.documents.add_gauges(self.metrics)
        if self.cluster is not None:
            self.cluster.enter_documents(self.documents)
        self._start_alone("documents", self.documents.run)

    def _make_documents(self) -> DocumentStores:
        from app.documents.stores import DocumentStores

        stores = self.config.document_stores
        return DocumentStores(self._durable, stores, new_id=new_id, clock_ms=self._clock_ms, embedder=self.embedder)

    async def _forget_webhooks(self) -> None:
        from app.webhooks.leftovers import delete_leftovers

        await delete_leftovers(self._durable)

    async def _forget_documents(self) -> None:
        from app.storage import documents

        if await self._durable.read(documents.stores):
            await self._make_documents().delete_others()

    async def replicas(self) -> list[ReplicaState]:
        """The servers of the service; one that is alone is all there are. Raises Unavailable."""
        if self.cluster is not None and self.cluster.roll_call is not None:
            return await self.cluster.roll_call.states()
        this = self.replica
        return [ReplicaState(this.id, this.name, this.address, this.started_ms, None, True, True, self._working())]

    def _working(self) -> Working:
        sharing = self.cluster.sharing if self.cluster is not None else None
        return Working(
            version=__version__,
            sessions=self._owned_sessions(),
            turns=len(self.house.runner.running),
            readers=self.house.live.readers,
            mirrors=0 if sharing is None else sharing.mirrors,
            takeovers=0 if sharing is None else sharing.takeovers,
            tail=self._tail_state(),
        )

    def _tail_state(self) -> str | None:
        tail = self.cluster.tail if self.cluster is not None else None
        return None if tail is None else "up" if tail.is_up else "degraded"

    def _owned_sessions(self) -> int:
        return sum([session_log.elsewhere is None for session_log in self.house.live.all()])

    def now_ms(self) -> int:
        return self._clock_ms()

    # -- while it is open -----------------------------------------------------------------------

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

    async def reload(self, config: Config) -> Changes:
        """Serve the agents and models of `config` from now on; returns what that changes, and what else waits.

        Running turns end with the model they began with; a model that is not used any more is closed then.
        """
        before, changes = self.config, find_changes(self.config, config)
        config = reloaded(before, config)
        changed = [name for name in self._llms if name in before.llms and config.llms.get(name) != before.llms[name]]
        retired = [self._llms.pop(name) for name in changed]
        self._add_llms(config)
        self.roster.replace(build_agents(config, self._llms))
        self.catalog.use_agents(config.agents)
        self.config = config
        self.created_agents.build_again()
        self._prepare_memory(config)
        for llm in retired:
            self._start(f"retirement of {llm.name}", self._retire(llm))
        return changes

    async def find_changes(self) -> Changes:
        """What a reload would change now. Raises Conflict (`invalid_config`): it would be refused."""
        try:
            return find_changes(self.config, await asyncio.to_thread(self.read_again))
        except ConfigError as error:
            problems = str(error).splitlines()
            raise Conflict(
                "The configuration is wrong, and a reload would change nothing.",
                reason="invalid_config",
                details={"problems": problems},
            ) from error

    async def _retire(self, llm: LLM) -> None:
        await self.house.runner.wait_unused(llm)
        await llm.close()

    def _add_llms(self, config: Config) -> None:
        for name, llm in config.llms.items():
            if name not in self._llms:
                self._llms[name] = build_llm(name, llm)

    def _start_alone(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What only one of several servers is to do."""
        self._start(name, work() if self.cluster is None else self.cluster.alone(work))

    def _start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(coroutine, name=name))

    # -- closing --------------------------------------------------------------------------------

    def on_stop(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the shutdown begins."""
        self._stop_listeners.append(listener)

    def _give_way(self) -> None:
        """Another server holds our data: nothing more can be written here, so there is nothing to stay for."""
        log.error("another server has taken over this database; this one stops")
        self.was_superseded = True
        self.begin_shutdown()

    def begin_shutdown(self) -> None:
        """Take no more messages, send the readers away; running turns go on. Idempotent."""
        if self._is_stopping:
            return
        self._is_stopping = True
        if self.cluster is not None:
            self.cluster.begin_to_stop()
        if self._is_ready:
            self.house.shutdown.begin()
        self.stop_signal.set_result(None)
        for listener in self._stop_listeners:
            listener()

    async def close(self) -> None:
        """Wait for the running turns (bounded), then close everything in reverse order."""
        self.begin_shutdown()
        if self._is_ready:
            if self.was_superseded:
                await self.house.shutdown.abandon()
            else:
                await self.house.shutdown.finish(grace_seconds=self.config.server.shutdown_grace.total_seconds())
            self._is_ready = False
        await self._stack.aclose()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _close_llms(self) -> None:
        for llm in self._llms.values():
            await llm.close()


@contextmanager
def _write_failures_told() -> Iterator[None]:
    """What the database refuses while parts are opened, in words for the operator."""
    try:
        yield
    except WriteFailed as error:
        raise Unavailable(f"The database cannot be written: {error}") from error


def _limits_of(config: Config) -> ActLimits:
    tools = config.tools
    return ActLimits(
        parallel=tools.parallel,
        result_inline=tools.result_inline,
        result_max=tools.result_max,
        approval_seconds=config.approvals.timeout.total_seconds(),
    )
