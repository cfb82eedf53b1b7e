"""Final memories: what a session that is over leaves to those after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from app.agents import Agent, Roster
from app.domain.errors import HectorError, NotFound, SessionOver
from app.domain.memory import Scope
from app.domain.session import SessionStatus
from app.events.change import Change
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.llm.base import LLMStopped
from app.memory.longterm import LongTermMemory
from app.memory.scope import effective
from app.memory.steps import in_words
from app.memory.summary_buffer import SummaryBuffer
from app.memory.working import Entry
from app.observability.tasks import Tasks
from app.storage import messages, sessions, summaries
from app.turns.booking import Booking
from app.turns.condensing import Condensing, NotCondensed, counted
from app.turns.desk import desk_of
from app.turns.memory import TurnMemory, owner_of
from app.turns.prompt import PAGE, as_entries

log = logging.getLogger(__name__)

AT_A_TIME = 2
"""Sessions that are summed up at the same time: many may expire together."""
MOST_PORTIONS = 16
"""Of a long session without a summary so many newest portions are summed up, by as many calls."""
RESUMED = 200
RESUMED_MS = 24 * 3600 * 1000
"""What a stop interrupted is taken up again after it: so many sessions, of the last day."""
CLOSE_SECONDS = 2.0
LEAST_BUDGET = 500
"""Tokens that a final summary is written with, where the agent's own budget is too small for one."""
USUAL_BUDGET = 2_000
"""The same, where the agent has none."""


class FinalMemories:
    """Remembers the rest of a session, and a summary of the whole for scopes wider than it. Owns the tasks that do."""

    def __init__(
        self,
        memory: LongTermMemory,
        turn_memory: TurnMemory,
        booking: Booking,
        live: LiveSessions,
        roster: Roster,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self._memory = memory
        self._turn_memory = turn_memory
        self._booking = booking
        self._roster = roster
        self._live = live
        self._clock_ms = clock_ms
        self._tasks = Tasks()
        self._at_a_time = asyncio.Semaphore(AT_A_TIME)
        self._jobs: dict[str, Condensing | None] = {}
        """What is at work, by session; `None` where no model is asked."""
        self._at_work: dict[str, set[asyncio.Task[None]]] = {}

    def session_over(self, session_log: SessionLog) -> None:
        """A session has ended or expired: remember it, in the background."""
        desk = desk_of(session_log)
        if desk is not None and desk.condensing is not None:
            desk.condensing.stop()
        agent = self._roster.find(session_log.session.agent)
        if agent is None or agent.config.memory.longterm is None or session_log.session.ephemeral:
            return
        session_id = session_log.session.session_id
        if session_id not in self._jobs:
            llm = agent.summarizer if _is_wide(session_log, agent) else None
            self._jobs[session_id] = Condensing(session_id, llm) if llm is not None else None
            self._start(session_id, self._finish(session_log, agent), name=f"final memories of {session_id}")

    def _start(self, session_id: str, work: Coroutine[Any, Any, None], *, name: str) -> None:
        task = self._tasks.start(work, name=name)
        self._at_work.setdefault(session_id, set()).add(task)
        task.add_done_callback(lambda done: self._over(session_id, done))

    def _over(self, session_id: str, task: asyncio.Task[None]) -> None:
        tasks = self._at_work[session_id]
        tasks.discard(task)
        if not tasks:
            del self._at_work[session_id]

    async def end(self, session_id: str) -> None:
        """Stop what is at work for a session, and return when it is over; what is left is for the next start."""
        job = self._jobs.get(session_id)
        if job is not None:
            job.stop()
        if tasks := self._at_work.get(session_id):
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    async def resume(self) -> None:
        """After a start: sessions that were over, and not remembered yet. Raises Unavailable."""
        agents = [agent.name for agent in self._roster if agent.config.memory.longterm is not None]
        if not agents:
            return
        ended_after = self._clock_ms() - RESUMED_MS
        query = partial(sessions.over_not_remembered, agents=agents, ended_after=ended_after, limit=RESUMED)
        for session_id in await self._live.durable.database.read(query):
            session_log = await self._live.open(session_id)
            if session_log is not None:
                self.session_over(session_log)

    async def before_erasure(self, session_log: SessionLog, *, forget_all: bool) -> None:
        """A session is being deleted: what is left for wider scopes is remembered first, without asking a model.

        With `forget_all` nothing is.

        Raises:
            Unavailable: try again.
        """
        agent = self._roster.find(session_log.session.agent)
        job = self._jobs.get(session_log.session.session_id)
        if job is not None:
            job.stop()
        if agent is None or forget_all or not _is_wide(session_log, agent):
            return
        try:
            await self._turn_memory.remember_rest(session_log, agent)
        except (SessionOver, NotFound):
            pass  # it is erased already

    def summary_written(self, session_log: SessionLog, agent: Agent, text: str) -> None:
        """A session that is going on was summed up: where only summaries are remembered, that is one."""
        settings = agent.config.memory.longterm
        if settings is not None and settings.storage_scope == "summaries_only" and _is_wide(session_log, agent):
            store = self._store(session_log, agent, text)
            session_id = session_log.session.session_id
            self._start(session_id, self._guarded(session_log, store), name=f"summary of {session_id} kept")

    # -- the work -----------------------------------------------------------------------------------------------

    async def _finish(self, session_log: SessionLog, agent: Agent) -> None:
        job = self._jobs[session_log.session.session_id]
        try:
            await self._guarded(session_log, self._remember(session_log, agent, job))
        finally:
            del self._jobs[session_log.session.session_id]

    async def _guarded(self, session_log: SessionLog, work: Coroutine[Any, Any, None]) -> None:
        session_id = session_log.session.session_id
        try:
            await work
        except LLMStopped:
            pass
        except NotCondensed as failure:
            log.warning("session %s is over and was not summed up: %s", session_id, failure)
        except HectorError as failure:
            if session_log.over is not SessionStatus.TERMINATED:
                log.warning("session %s is over and not all of it is remembered: %s", session_id, failure)

    async def _remember(self, session_log: SessionLog, agent: Agent, job: Condensing | None) -> None:
        await self._turn_memory.remember_rest(session_log, agent)
        text = ""
        if job is not None:
            async with self._at_a_time:
                try:
                    text = await self._sum_up(session_log, agent, job)
                finally:
                    self._booking.book(session_log, job)
        await self._store(session_log, agent, text, upto=session_log.last_seq)
        await self._turn_memory.trim(session_log.session, agent)

    async def _sum_up(self, session_log: SessionLog, agent: Agent, job: Condensing) -> str:
        """A summary of the whole session: its last one and what came after; empty if nothing was said."""
        memory = _buffer_of(agent)
        read = self._live.durable.database.read
        session_id = session_log.session.session_id
        old = await read(partial(summaries.find, session_id=session_id, before=messages.NEWEST))
        rest = await self._said_after(session_log, memory, old.upto_seq if old is not None else 0)
        text = old.text if old is not None else ""
        async for condensed in job.condense(memory, text, rest):
            text = condensed.text
        return text

    async def _said_after(self, session_log: SessionLog, memory: SummaryBuffer, after: int) -> list[Entry]:
        read = self._live.durable.database.read
        found: list[Entry] = []
        before, most = messages.NEWEST, MOST_PORTIONS * memory.portion_tokens
        while await counted(lambda: memory.fits(found, most), size=sum([len(one.encoded) for one in found])):
            query = partial(messages.context, session_id=session_log.session.session_id, before=before, limit=PAGE)
            page = await read(query)
            found[:0] = in_words(as_entries(page, after=after))
            if len(page) < PAGE or page[0].seq <= after:
                break
            before = page[0].seq
        return list(memory.select(found, taken=memory.budget - most))

    async def _store(self, session_log: SessionLog, agent: Agent, text: str, *, upto: int | None = None) -> None:
        """Keep the summary, if there is one; `upto`: and the word that the session is remembered up to there."""
        settings = agent.config.memory.longterm
        if settings is None:
            return
        removed = None
        query = partial(messages.least_trust, session_id=session_log.session.session_id)
        trust = await self._live.durable.database.read(query) if text else "user"
        remembered = upto if upto is not None else session_log.session.remembered_seq
        async with Change(session_log) as change:
            if text:
                owner, scope = owner_of(session_log.session), Scope(settings.storage_scope)
                at_ms = session_log.session.active_ms
                removed = self._memory.add_summary(change.unit, owner, scope, text, at_ms=at_ms, trust=trust)
            sessions.add_remembered(change.unit, upto=remembered)
            change.set(remembered_seq=remembered)
        if removed is not None:
            self._memory.drop(removed)
            self._memory.wake()

    async def settled(self) -> None:
        """Until nothing is being remembered; for a moment, if that takes long."""
        await self._tasks.wait(seconds=CLOSE_SECONDS)

    async def close(self) -> None:
        for job in self._jobs.values():
            if job is not None:
                job.stop()
        await self.settled()
        await self._tasks.cancel()


def _is_wide(session_log: SessionLog, agent: Agent) -> bool:
    """Whether others than the session itself recall what it leaves."""
    settings = agent.config.memory.longterm
    if settings is None or session_log.session.ephemeral:
        return False
    return effective(Scope(settings.storage_scope), owner_of(session_log.session)) is not Scope.SESSION


def _buffer_of(agent: Agent) -> SummaryBuffer:
    memory = agent.working_memory
    if isinstance(memory, SummaryBuffer) and memory.sums_up:
        return memory
    budget = agent.config.memory.working.budget or USUAL_BUDGET
    return SummaryBuffer(max(budget, LEAST_BUDGET), agent.llm.count_tokens)
