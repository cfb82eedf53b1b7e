"""House: sessions, turns, memory and forgetting, built on two databases and wired. No doors, no files, no sweeps.

The server (`runtime.py`) and the tests build the same house here; what differs is handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.agents import Roster
from app.config.server import SessionsConfig
from app.delegation import Delegation
from app.domain.ids import NewId
from app.events.live import LiveSessions, Store
from app.events.log import SessionLog
from app.events.outbox import Outbox
from app.forgetting.forgettings import Forgettings
from app.forgetting.removal import Places
from app.forgetting.warm import WarmCopies
from app.memory.imports import Imports
from app.memory.longterm import LongTermMemory
from app.memory.memories import Memories
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.search.embedder import Embedder
from app.sessions.copies import Copies
from app.sessions.ending import Endings
from app.sessions.ledger import Ledger
from app.sessions.service import Sessions
from app.sessions.stored_size import StoredSize
from app.sessions.termination import Terminations
from app.sessions.tombstones import Tombstones
from app.storage.engine.database import Database
from app.storage.erasure import Erasure
from app.storage.memories import Removed
from app.turns.acting import Acting, ActLimits, NoTools, Toolbox
from app.turns.admission import Admission
from app.turns.booking import Booking
from app.turns.decisions import Decisions
from app.turns.final import FinalMemories
from app.turns.flow import Flow
from app.turns.history import History
from app.turns.index import TurnIndex
from app.turns.loop import Loop
from app.turns.memory import TurnMemory
from app.turns.push_configs import PushConfigs
from app.turns.recovery import Recovery
from app.turns.report import Reporter
from app.turns.runner import Runner
from app.turns.shutdown import Shutdown
from app.turns.stopping import Stopping
from app.turns.summaries import Summaries

log = logging.getLogger(__name__)


class Aftermath:
    """What follows when a session is over or erased (the `SessionObserver` of this house)."""

    def __init__(self, final: FinalMemories, longterm: LongTermMemory, erasure: Erasure) -> None:
        self._final = final
        self._longterm = longterm
        self._erasure = erasure

    def session_over(self, session_log: SessionLog) -> None:
        self._final.session_over(session_log)

    async def before_erasure(self, session_log: SessionLog, *, forget_all: bool) -> None:
        await self._final.before_erasure(session_log, forget_all=forget_all)

    def session_erased(self, removed: Removed) -> None:
        self._longterm.drop(removed)
        self._erasure.touch()


@dataclass(frozen=True, slots=True)
class House:
    """The parts, by name. `close` ends their tasks; the databases and models belong to the caller."""

    live: LiveSessions
    aftermath: Aftermath
    tombstones: Tombstones
    endings: Endings
    terminations: Terminations
    sessions: Sessions
    copies: Copies
    ledger: Ledger
    history: History
    turn_index: TurnIndex
    longterm: LongTermMemory
    memories: Memories
    turn_memory: TurnMemory
    booking: Booking
    final: FinalMemories
    summaries: Summaries
    runner: Runner
    stopping: Stopping
    admission: Admission
    recovery: Recovery
    shutdown: Shutdown
    decisions: Decisions
    push_configs: PushConfigs
    delegation: Delegation
    erasure: Erasure
    forgettings: Forgettings
    warm: WarmCopies

    async def recover(self) -> int:
        """After a start, before anything else: end or adopt what the process before left open.

        Returns how many turns were interrupted. Queued turns begin with `runner.resume_queues`.
        """
        interrupted = await self.recovery.recover()
        await self.endings.settle()
        await self.forgettings.resume()
        return interrupted

    async def close(self) -> None:
        """End the background work, in an order in which each part may still use those below it."""
        await self.stopping.close()
        await self.forgettings.close()
        await self.terminations.close()
        await self.endings.close()
        await self.final.close()
        await self.summaries.close()
        await self.turn_memory.close()
        await self.booking.close()
        await self.longterm.close()


def build(
    durable: Database,
    ephemeral: Database,
    roster: Roster,
    config: SessionsConfig,
    *,
    tombstone_key: bytes,
    new_id: NewId,
    clock_ms: Callable[[], int],
    embedder: Embedder | None = None,
    longterm: type[LongTermMemory] = LongTermMemory,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
    ring_bytes: int = 262_144,
    erasure: Erasure | None = None,
    toolbox: Toolbox | None = None,
    limits: ActLimits | None = None,
    address: str = "",
    flow: Flow = "off",
    outbox: Outbox | None = None,
    max_sessions: int | None = None,
) -> House:
    """Build every part on opened databases. Starts no task. `max_sessions`: active ones of one principal."""
    live = LiveSessions(
        Store(durable, clock_ms=clock_ms),
        Store(ephemeral, clock_ms=clock_ms),
        ring_bytes=ring_bytes,
        max_bytes=config.warm_memory,
        clock_ms=clock_ms,
        outbox=outbox,
    )
    erasure = erasure or Erasure(durable)
    remembered = longterm(durable, new_id=new_id, clock_ms=clock_ms, embedder=embedder)
    remembered.on_removed = partial(erasure.touch, text=True)
    turn_memory = TurnMemory(remembered, live)
    booking = Booking(clock_ms=clock_ms, metrics=metrics)
    final = FinalMemories(remembered, turn_memory, booking, live, roster, clock_ms=clock_ms)
    aftermath = Aftermath(final, remembered, erasure)

    tombstones = Tombstones(durable, secret=tombstone_key)
    endings = Endings(live, aftermath, config, clock_ms=clock_ms)
    terminations = Terminations(live, tombstones, aftermath, clock_ms=clock_ms)
    sessions = Sessions(
        live,
        tombstones,
        endings,
        new_id=new_id,
        clock_ms=clock_ms,
        max_per_principal=max_sessions,
        max_per_user=config.max_per_user,
        stored=StoredSize(durable, most=config.max_stored, clock_ms=clock_ms),
    )

    summaries = Summaries(booking, clock_ms=clock_ms, observer=final)
    reporter = Reporter(metrics, tracing or Tracing()) if metrics is not None else None
    history = History()
    acting = Acting(toolbox or NoTools(), new_id, clock_ms, tombstone_key, limits or ActLimits(), address, flow)
    loop = Loop(acting, summaries, turn_memory)
    runner = Runner(
        live, summaries, clock_ms=clock_ms, observer=endings, loop=loop, reporter=reporter, memory=turn_memory
    )
    stopping = Stopping(runner, summaries, clock_ms=clock_ms)
    admission = Admission(
        runner, stopping, new_id=new_id, clock_ms=clock_ms, on_busy=config.on_busy, max_queue=config.max_queue
    )

    warm = WarmCopies(live, stopping, turn_memory, summaries, final)
    imports = Imports()
    places = Places(live, terminations, remembered, imports, warm)
    return House(
        live=live,
        aftermath=aftermath,
        tombstones=tombstones,
        endings=endings,
        terminations=terminations,
        sessions=sessions,
        copies=Copies(sessions),
        ledger=Ledger(live),
        history=history,
        turn_index=TurnIndex(live),
        longterm=remembered,
        memories=Memories(remembered, durable, new_id=new_id, clock_ms=clock_ms, imports=imports),
        turn_memory=turn_memory,
        booking=booking,
        final=final,
        summaries=summaries,
        runner=runner,
        stopping=stopping,
        admission=admission,
        recovery=Recovery(live, admission, roster, clock_ms=clock_ms),
        shutdown=Shutdown(runner),
        delegation=Delegation(
            live, roster, sessions, admission, stopping, history, is_shutting_down=lambda: runner.is_stopping
        ),
        decisions=Decisions(acting, runner, live, clock_ms=clock_ms),
        push_configs=PushConfigs(live, clock_ms=clock_ms),
        erasure=erasure,
        forgettings=Forgettings(places, erasure, new_id=new_id, clock_ms=clock_ms),
        warm=warm,
    )
