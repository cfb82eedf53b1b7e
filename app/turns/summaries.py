"""Summaries of what leaves the window of a session: written beside its turns, inside one where nothing else helps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from app.agents import Agent
from app.domain.errors import HectorError
from app.domain.session import SessionStatus
from app.domain.summary import Summary
from app.domain.turn import Usage
from app.events.change import Change
from app.events.log import SessionLog
from app.llm.base import LLMStopped
from app.memory.summary_buffer import SummaryBuffer
from app.memory.working import Entry, entry
from app.observability.tasks import Tasks
from app.storage import messages, summaries
from app.turns.booking import Booking, total
from app.turns.condensing import LARGE_BYTES, Condensing, NotCondensed, counted
from app.turns.desk import Desk
from app.turns.open_turn import OpenTurn
from app.turns.template import LEFT_OUT, begins_with_assistant, from_user

log = logging.getLogger(__name__)

PAUSE_SECONDS = 60.0
"""After a failed summary the session does without for so long."""
PATIENCE_SECONDS = 20.0
"""How long a turn waits for a summary; one that takes longer goes on beside it, for the turns after."""
CLOSE_SECONDS = 2.0


class SummaryObserver(Protocol):
    """Told of each summary of a session that is going on."""

    def summary_written(self, session_log: SessionLog, agent: Agent, text: str) -> None: ...


class Summaries:
    """Writes them, and keeps them. Owns the tasks that do; at most one a session."""

    def __init__(self, booking: Booking, *, clock_ms: Callable[[], int], observer: SummaryObserver) -> None:
        self._booking = booking
        self._clock_ms = clock_ms
        self._observer = observer
        self._tasks = Tasks()
        self._jobs: set[Condensing] = set()

    # -- after a turn -------------------------------------------------------------------------------------------

    def consider(self, desk: Desk) -> None:
        """A turn is over: begin to sum up in the background, if history and summary have crossed the threshold."""
        memory, window = desk.agent.working_memory, desk.window
        if type(memory) is not SummaryBuffer or window is None or desk.condensing is not None:
            return
        room = memory.threshold - _tokens(desk.summary)
        if sum([message.at_most() for message in window]) <= room or self._is_pausing(desk) or not _is_open(desk):
            return
        if not memory.sums_up:
            return
        # Much text is counted by the job, in a thread.
        if _uncounted(window) >= LARGE_BYTES or not memory.fits(window, room):
            self._begin(desk, is_urgent=False)

    # -- in a turn ----------------------------------------------------------------------------------------------

    async def fit(
        self, desk: Desk, turn: OpenTurn, memory: SummaryBuffer, window: list[Entry]
    ) -> tuple[Summary | None, list[Entry]]:
        """The summary and the messages of the turn's request; summed up now if they do not fit otherwise.

        `window`: what the summary does not cover, the turn's own message last.

        Raises:
            LLMStopped: the turn was stopped meanwhile.
        """
        if await _fits(desk, memory, window):
            self._tell(desk, turn, desk.summary, desk.left_out)
            return desk.summary, list(window)
        if (cleared := await self._clear(desk, memory, window)) is not window:
            window = cleared
            if await _fits(desk, memory, window):
                self._tell(desk, turn, desk.summary, desk.left_out)
                return desk.summary, window
        newest = await counted(lambda: memory.total(window[-1:]), size=_uncounted(window[-1:]))
        if not memory.sums_up:
            return None, await self._move_on(desk, turn, memory, window, newest=newest)
        has_room = newest <= memory.budget - memory.longest
        if has_room and len(window) > 1 and not self._is_pausing(desk):
            await self._sum_up_now(desk, turn, memory, window)
            window = _after(desk.summary, window)
        summary = desk.summary if newest + _tokens(desk.summary) <= memory.budget else None
        taken = _tokens(summary)
        selected = from_user(await counted(lambda: memory.select(window, taken=taken), size=_uncounted(window)))
        left_out = len(window) - len(selected)
        if summary is None and desk.summary is not None:
            left_out += await _count_covered(desk, desk.summary)
        if not has_room and (left_out or summary is not desk.summary or newest > memory.budget):
            turn.summary = {"status": "no_room", "tokens": newest, "budget": memory.budget}
        self._tell(desk, turn, summary, desk.left_out + left_out)
        if left_out and self._is_pausing(desk) and desk.window is not None:
            kept = list(
                memory.select(desk.window, taken=-memory.budget)
            )  # what cannot be summed up is not kept forever
            desk.left_out += len(desk.window) - len(kept)
            desk.window = kept
        return summary, selected

    async def _clear(self, desk: Desk, memory: SummaryBuffer, window: list[Entry]) -> list[Entry]:
        """Have old results of tools give way, in the desk's window too. Returns `window` itself if there are none."""
        taken = _tokens(desk.summary)
        cleared = await counted(lambda: memory.clear(window, taken=taken), size=_uncounted(window))
        if cleared is window:
            return window
        if desk.window is not None:
            by_old = {id(old): new for old, new in zip(window, cleared, strict=True)}
            desk.window = [by_old.get(id(message), message) for message in desk.window]
        return list(cleared)

    async def _move_on(
        self, desk: Desk, turn: OpenTurn, memory: SummaryBuffer, window: list[Entry], *, newest: int
    ) -> list[Entry]:
        """Without summaries: the newest messages; the others are dropped from the window."""
        selected = list(await counted(lambda: memory.renew(window), size=_uncounted(window)))
        desk.left_out += len(window) - len(selected)
        desk.window = list(selected)
        if newest > memory.budget:
            turn.summary = {"status": "no_room", "tokens": newest, "budget": memory.budget}
        begun = from_user(selected)
        self._tell(desk, turn, None, desk.left_out + len(selected) - len(begun))
        return begun

    async def _sum_up_now(self, desk: Desk, turn: OpenTurn, memory: SummaryBuffer, window: list[Entry]) -> None:
        started = time.monotonic()
        before = desk.summary
        usages: list[Usage] = []
        is_late = False
        while not is_late and not await _fits(desk, memory, _after(desk.summary, window)):
            running = desk.condensing
            job = turn.condensing = running or self._begin(desk, is_urgent=True)
            assert job.task is not None
            try:
                left = started + PATIENCE_SECONDS - time.monotonic()
                is_late = not (await asyncio.wait([job.task], timeout=max(left, 0)))[0]
            finally:
                turn.condensing = None
            usages += job.usages
            if turn.stop is not None:
                raise LLMStopped
            if job.failure is not None or running is None:
                break
        took_ms = round((time.monotonic() - started) * 1000, 1)
        summary = desk.summary
        if summary is not None and summary is not before:
            turn.summary = {"status": "written", "upto": summary.upto_seq, "tokens": summary.tokens}
        else:
            why = f"it takes longer than {PATIENCE_SECONDS:.0f} s" if is_late else "it was stopped"
            turn.summary = {"status": "failed", "message": desk.summary_failure or why}
        turn.summary["source"] = "counted" if desk.agent.llm.counts_exactly else "estimated"
        turn.summary["took_ms"] = took_ms
        turn.summary["usage"] = total(usages).to_json() if usages else None

    def _tell(self, desk: Desk, turn: OpenTurn, summary: Summary | None, left_out: int) -> None:
        """Note in the turn what its request has instead of older messages, unless it has all of them."""
        if turn.summary is None and left_out:
            failure = desk.summary_failure
            turn.summary = {"status": "failed", "message": failure} if failure else {"status": "left_out"}
        elif turn.summary is None and summary is not None:
            turn.summary = {"status": "used", "upto": summary.upto_seq, "tokens": summary.tokens}
        if turn.summary is not None and left_out:
            turn.summary["left_out"] = left_out

    # -- the work -----------------------------------------------------------------------------------------------

    def _begin(self, desk: Desk, *, is_urgent: bool) -> Condensing:
        """Summarize the oldest messages if history and summary are above the threshold, or `is_urgent` the budget."""
        llm = desk.agent.summarizer
        assert llm is not None  # its memory `sums_up`
        job = desk.condensing = Condensing(desk.session_id, llm)
        desk.session_log.is_pinned = True  # what is being written belongs to this object's window
        self._jobs.add(job)
        job.task = self._tasks.start(self._run(desk, job, is_urgent), name=f"summary of {job.session_id}")
        return job

    async def _run(self, desk: Desk, job: Condensing, is_urgent: bool) -> None:
        try:
            await self._condense(desk, job, is_urgent)
            desk.summary_failure = None
        except LLMStopped:
            pass
        except NotCondensed as failure:
            self._fail(desk, job, str(failure))
        except HectorError as failure:
            self._fail(desk, job, f"it could not be stored: {failure}")
        except Exception:
            log.exception("the summary of session %s failed by our fault", job.session_id)
            self._fail(desk, job, "something went wrong on our side")
        finally:
            self._jobs.discard(job)
            desk.condensing = None
            if desk.session_log.over is None:
                desk.session_log.is_pinned = False
            self._booking.book(desk.session_log, job)

    def _fail(self, desk: Desk, job: Condensing, why: str) -> None:
        job.failure = desk.summary_failure = why
        desk.summary_failed_clock = time.monotonic()
        log.warning("older messages of session %s were not summed up: %s", job.session_id, why)

    async def _condense(self, desk: Desk, job: Condensing, is_urgent: bool) -> None:
        memory = desk.agent.working_memory
        window = list(desk.window or ())
        if type(memory) is not SummaryBuffer:
            return
        if desk.agent.budget is not None:
            await desk.agent.budget.settle(window)
        size, limit = _uncounted(window), memory.budget if is_urgent else memory.threshold
        if await counted(lambda: memory.fits(window, limit - _tokens(desk.summary)), size=size):
            return
        window = await self._clear(desk, memory, window)
        if memory.fits(window, limit - _tokens(desk.summary)):
            return
        rest = window[: await counted(lambda: memory.cut(window), size=size)]
        old = desk.summary.text if desk.summary is not None else ""
        async for condensed in job.condense(memory, old, rest):
            if condensed.upto > (desk.summary.upto_seq if desk.summary is not None else 0):
                summary = Summary(condensed.upto, condensed.text, condensed.tokens, job.llm.model, self._clock_ms())
                await self._store(desk, summary)

    async def _store(self, desk: Desk, summary: Summary) -> None:
        if not _is_open(desk):
            raise LLMStopped
        async with Change(desk.session_log) as change:
            summaries.add(change.unit, summary)
        desk.summary = summary
        if desk.window is not None:
            desk.window = _after(summary, desk.window)
        self._observer.summary_written(desk.session_log, desk.agent, summary.text)

    # -- stopping -----------------------------------------------------------------------------------------------

    def stop(self, desk: Desk) -> None:
        """The session is over: nothing more is summed up in it."""
        if desk.condensing is not None:
            desk.condensing.stop()

    async def end(self, desk: Desk) -> None:
        """The same, and return when it is over: what follows reads the summary anew."""
        job = desk.condensing
        if job is not None and job.task is not None:
            job.stop()
            await asyncio.wait([job.task])

    async def settled(self) -> None:
        """Until nothing is being summed up; for a moment, if that takes long."""
        await self._tasks.wait(seconds=CLOSE_SECONDS)

    async def close(self) -> None:
        for job in list(self._jobs):
            job.stop()
        await self.settled()
        await self._tasks.cancel()

    def _is_pausing(self, desk: Desk) -> bool:
        failed = desk.summary_failed_clock
        return failed is not None and time.monotonic() - failed < PAUSE_SECONDS


def _is_open(desk: Desk) -> bool:
    session = desk.session_log.session
    return desk.session_log.over is None and session.status is SessionStatus.ACTIVE and session.ending is None


def _after(summary: Summary | None, window: list[Entry]) -> list[Entry]:
    """What the summary does not cover."""
    return [message for message in window if summary is None or message.seq > summary.upto_seq]


async def _fits(desk: Desk, memory: SummaryBuffer, window: list[Entry]) -> bool:
    room = memory.budget - _tokens(desk.summary)
    if begins_with_assistant(window):
        room -= memory.total([entry("user", LEFT_OUT)])
    return await counted(lambda: memory.fits(window, room), size=_uncounted(window))


async def _count_covered(desk: Desk, summary: Summary) -> int:
    """How many messages a summary stands for."""
    query = partial(messages.count, session_id=desk.session_id, upto=summary.upto_seq)
    return await desk.session_log.database.read(query)


def _tokens(summary: Summary | None) -> int:
    return summary.tokens if summary is not None else 0


def _uncounted(window: list[Entry]) -> int:
    return sum([len(message.encoded) for message in window if message.tokens is None])
