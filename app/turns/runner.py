"""Runner: runs turns, and brings each to exactly one end; then the next one of the session begins.

A turn belongs to the server, not to the request that began it: the runner keeps its task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from app.domain.act import ActState, ToolClass
from app.domain.errors import HectorError, Unavailable
from app.domain.event import DebugLine, TurnResumed
from app.domain.turn import Failure, Outcome, TurnState, Usage
from app.events.change import Change
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.events.tape import Tape
from app.llm.base import LLM, LLMError, LLMStopped, LLMTimeout
from app.observability.tasks import Tasks
from app.storage import acts, turns
from app.storage.engine.fence import Superseded
from app.storage.engine.unit_of_work import UnitOfWork, Unwritable
from app.turns import begin, step
from app.turns.desk import Desk, desk_of
from app.turns.finish import OUR_FAULT, End, Verdict, add_usage, timings_of
from app.turns.grace import Grace
from app.turns.loop import Loop
from app.turns.memory import TurnMemory
from app.turns.open_turn import OpenTurn
from app.turns.recalling import recalled_lines
from app.turns.report import Reporter, ids
from app.turns.stop import stop
from app.turns.summaries import Summaries
from app.turns.tool_calls import LoopDetected, TurnWaits
from app.turns.waiting import can_go_on

log = logging.getLogger(__name__)

RETRY_START_SECONDS = 1.0
"""A queued turn whose start cannot be stored tries again after this long."""


AWAY = Failure("storage_unavailable", "The database was away for so long that another server might have taken over.")


class IdleObserver(Protocol):
    """Told when the last open or queued turn of a session is over."""

    def session_idle(self, session_log: SessionLog) -> None: ...


class Runner:
    """Owns every running turn of this process."""

    def __init__(
        self,
        live: LiveSessions,
        summaries: Summaries,
        *,
        clock_ms: Callable[[], int],
        observer: IdleObserver,
        loop: Loop,
        reporter: Reporter | None = None,
        memory: TurnMemory | None = None,
    ) -> None:
        self._live = live
        self._loop = loop
        self._summaries = summaries
        self._clock_ms = clock_ms
        self._observer = observer
        self._reporter = reporter
        self._memory = memory
        self.tasks = Tasks()
        self.grace = Grace()
        self.running: set[OpenTurn] = set()
        self.is_stopping = False

    def launch(self, desk: Desk, turn: OpenTurn) -> None:
        """The start of `turn` is committed: run it."""
        session_log = desk.session_log
        if session_log.over is not None:  # terminated while the start was being written: its end is written too
            desk.open = None
            desk.settle()
            return
        session_log.tape = Tape(turn.turn_id)
        self._live.store_of(session_log).journal.follow(session_log)
        desk.unclosed.clear()  # with this start
        turn.state = TurnState.RUNNING
        turn.resumes = desk.agent.config.reasoning.on_crash == "resume" and not session_log.session.ephemeral
        self.running.add(turn)
        self.grace.watch(desk)
        turn.task = self.tasks.start(self._run(desk, turn), name=turn.turn_id)

    def next(self, desk: Desk) -> None:
        """Begin the first queued turn if none is open; tell the observer when the session is idle."""
        if desk.open is None and desk.queue and not self.is_stopping and desk.session_log.over is None:
            turn = desk.queue.pop(0)
            desk.begin(turn)
            self.tasks.start(self._start_queued(desk, turn), name=f"start of {turn.turn_id}")
        desk.settle()
        if not desk.session_log.is_busy:
            self._observer.session_idle(desk.session_log)

    def resume_queues(self) -> None:
        """Start what the process before left; called once the server is ready."""
        for session_log in self._live.all():
            desk = desk_of(session_log)
            if desk is not None:
                self.resume(desk)

    def resume(self, desk: Desk) -> None:
        """Go on with what was adopted in this session, or begin the first that waits."""
        if desk.open is not None and can_go_on(desk.open):
            self.go_on(desk, desk.open)
        self.next(desk)

    def stop(self, desk: Desk, turn: OpenTurn, state: TurnState, reason: str | None) -> None:
        """Have the open turn end, also one that waits."""
        stop(turn, state, reason)
        if turn.state is TurnState.WAITING and not turn.is_going_on and turn.stop is not None:
            turn.is_going_on = True  # to its end
            self.tasks.start(self.finish(desk, turn, *turn.stop, None, turn.used), name=f"end of {turn.turn_id}")

    def go_on(self, desk: Desk, turn: OpenTurn, call_id: str | None = None) -> None:
        """Run a waiting turn again. `call_id`: the act that was decided."""
        if turn.state is TurnState.WAITING and not turn.is_going_on and not self.is_stopping:
            turn.is_going_on = True
            self.tasks.start(self._go_on(desk, turn, call_id), name=f"going on with {turn.turn_id}")

    async def _go_on(self, desk: Desk, turn: OpenTurn, call_id: str | None) -> None:
        def launch() -> None:
            turn.waited_seconds += time.monotonic() - turn.parked_clock
            turn.is_going_on, turn.is_resumed, turn.waiting_for = False, True, None
            turn.parked.clear()
            self.launch(desk, turn)

        while desk.session_log.over is None:
            try:
                async with Change(desk.session_log) as change:
                    turns.add_go_on(change.unit, turn.turn_id)
                    change.fact(TurnResumed(turn.turn_id, call_id))
                    change.on_commit(launch)
            except Unavailable as error:
                if isinstance(error.__cause__, Unwritable):
                    raise
                await asyncio.sleep(RETRY_START_SECONDS)
            except HectorError:
                if desk.session_log.over is None:
                    raise
            else:
                return

    def _park(self, desk: Desk, turn: OpenTurn) -> None:
        """The turn waits for somebody: it has no task, no tape and no grace until it goes on."""
        session_log = desk.session_log
        turn.state = TurnState.WAITING
        turn.task = None
        self.running.discard(turn)
        self.grace.end(turn)
        self._live.store_of(session_log).journal.unfollow(session_log)
        session_log.tape = None
        turn.parked_clock = time.monotonic()
        turn.parked.set()
        if turn.stop is not None:
            self.stop(desk, turn, *turn.stop)
        elif can_go_on(turn):
            self.go_on(desk, turn)

    async def finish(
        self,
        desk: Desk,
        turn: OpenTurn,
        state: TurnState,
        reason: str | None,
        failure: Failure | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Write the one end of a turn, show it, then let the next one begin."""
        session_log = desk.session_log
        self.grace.end(turn)
        ended = False

        def end_with(outcome: Outcome) -> None:
            nonlocal ended
            self._end_with(desk, turn, outcome)
            ended = True

        if session_log.over is None:
            if turn.wants_debug and turn.started_clock:
                self._debug_end(desk, turn, state)
            end = End(desk, turn, self._clock_ms, self._memory, end_with)
            try:
                outcome = await end.write(Verdict(state, reason, failure, usage))
            except Exception:  # not even readers could be told: the session goes on
                log.exception("turn %s has no end, by our fault", turn.turn_id, extra=ids(desk, turn))
                outcome = Outcome(turn.turn_id, TurnState.FAILED, OUR_FAULT.reason, failure=OUR_FAULT)
        else:  # the terminate has written the end
            timings = timings_of(turn)
            outcome = Outcome(turn.turn_id, TurnState.CANCELLED, "session_terminated", usage=usage, timings=timings)
        if not ended:
            end_with(outcome)

    def _end_with(self, desk: Desk, turn: OpenTurn, outcome: Outcome) -> None:
        """The turn is over: tell those who wait and watch, enter what it used, make room for the next one."""
        turn.settle(outcome)
        try:
            self._tell_end(desk, turn, outcome)
        except Exception:
            log.exception("what follows turn %s failed by our fault", turn.turn_id, extra=ids(desk, turn))
        self._clear(desk, turn)

    def _tell_end(self, desk: Desk, turn: OpenTurn, outcome: Outcome) -> None:
        if desk.session_log.over is None:
            self._summaries.consider(desk)
        if self._reporter is not None:
            self._reporter.turn_ended(desk, turn, outcome)
        if outcome.usage is not None and (desk.session_log.session.ephemeral or not turn.is_stored):
            # What was used was used, also where nothing else is kept.
            unit = UnitOfWork("")
            add_usage(unit, desk.session_log.session, desk.agent.llm, outcome.usage, self._clock_ms())
            self._live.durable.database.submit(unit)

    async def wait_unused(self, llm: LLM) -> None:
        """Until no running turn asks this model any more."""
        if waited := [turn.done for turn in self.running if turn.llm is llm]:
            await asyncio.wait(waited)

    @property
    def streaming(self) -> int:
        """How many of the running turns have a model's stream open."""
        return sum([turn.stream is not None and turn.stop is None for turn in self.running])

    # -- one turn -------------------------------------------------------------------------------

    async def _run(self, desk: Desk, turn: OpenTurn) -> None:
        usage: Usage | None = None
        failure: Failure | None = None
        state, reason = TurnState.COMPLETED, None
        try:
            if turn.wants_debug:
                self._debug(desk, turn, f"[Session: {desk.session_id}]")
                self._debug(desk, turn, f"[Message: {desk.session_log.session.message_count // 2 + 1}]")
            usage = await self._loop.run(desk, turn)
        except TurnWaits:
            self._park(desk, turn)
            return
        except Superseded:
            log.warning("turn %s stops: this server cannot know whether it still owns its session", turn.turn_id)
            await desk.session_log.owned_again()
            state, reason, failure = TurnState.FAILED, AWAY.reason, AWAY
        except LLMStopped:
            if turn.is_handed_over:
                await self._hand_over(desk, turn)
                return
            state, reason = turn.stop or (TurnState.CANCELLED, "cancelled")
        except Exception as error:  # the edge of the task: every turn gets its end
            failure = _failure_of(error)
            state, reason = TurnState.FAILED, failure.reason
            if failure.reason == "internal":
                log.exception("turn %s failed by our fault", turn.turn_id, extra=ids(desk, turn))
        if turn.stop is not None and state is not TurnState.COMPLETED:
            (state, reason), failure = turn.stop, None
        if usage is None:
            usage = await self._count_usage(desk, turn)
        await self.finish(desk, turn, state, reason, failure, usage)

    async def _hand_over(self, desk: Desk, turn: OpenTurn) -> None:
        """The next process goes on with the turn. What came of its calls is stored; what may run again does there."""
        self.running.discard(turn)
        self._live.store_of(desk.session_log).journal.unfollow(desk.session_log)
        ended = [(act, turn.closed[act.call_id]) for act in turn.acts if act.call_id in turn.closed]
        try:
            async with Change(desk.session_log) as change:
                for before, after in ended:
                    runs_again = before.tool_class is not ToolClass.ONCE or before.kept is not None
                    if after.state is not ActState.CANCELLED or not runs_again:
                        acts.add_change(change.unit, before, after)
        except HectorError as error:
            log.warning("calls of turn %s cannot be stored, and may run again: %s", turn.turn_id, error)

    async def _count_usage(self, desk: Desk, turn: OpenTurn) -> Usage | None:
        try:
            return await step.usage_of(desk, turn)
        except Exception:  # a turn must end, counted or not
            log.exception("the tokens of turn %s could not be counted", turn.turn_id, extra=ids(desk, turn))
            return None

    async def _start_queued(self, desk: Desk, turn: OpenTurn) -> None:
        session_log = desk.session_log
        try:
            async with Change(session_log, requires_active=True) as change:
                begin.begin_queued(change, desk, turn, now_ms=self._clock_ms())
                change.on_commit(lambda: self.launch(desk, turn))
        except Exception as error:  # the edge of the task: every turn gets its end
            if session_log.over is not None:
                return
            if not isinstance(error, Unavailable) or isinstance(error.__cause__, Unwritable):
                log.exception("turn %s cannot begin", turn.turn_id, extra=ids(desk, turn))
                await self.finish(desk, turn, TurnState.FAILED, OUR_FAULT.reason, OUR_FAULT)
                return
            # The message is stored and stays queued: it waits for the database.
            desk.open = None
            desk.queue.insert(0, turn)
            desk.settle()
            await asyncio.sleep(RETRY_START_SECONDS)
            self.next(desk)

    def _clear(self, desk: Desk, turn: OpenTurn) -> None:
        """The turn is over: make room for the next one."""
        session_log = desk.session_log
        self.running.discard(turn)
        if desk.open is turn:
            self._live.store_of(session_log).journal.unfollow(session_log)
            session_log.tape = None
            desk.open = None
        desk.keys.release(turn)
        self.next(desk)
        session_log.rest()

    # -- debug frames ---------------------------------------------------------------------------

    def _debug(self, desk: Desk, turn: OpenTurn, line: str) -> None:
        log.debug(line)
        self._show(desk, turn, line)

    def _show(self, desk: Desk, turn: OpenTurn, line: str) -> None:
        turn.shown.append(desk.session_log.show(DebugLine(turn.turn_id, line)))

    def _debug_end(self, desk: Desk, turn: OpenTurn, state: TurnState) -> None:
        try:
            self._show_figures(desk, turn, state)
        except Exception:  # a turn must end, with its debug frames or without
            log.exception("the figures of turn %s could not be shown", turn.turn_id, extra=ids(desk, turn))

    def _show_figures(self, desk: Desk, turn: OpenTurn, state: TurnState) -> None:
        count = desk.agent.llm.count_tokens
        prompt = turn.prompt
        memory = sum([item.count(count) for item in prompt.messages]) + prompt.memory_tokens if prompt else 0
        self._debug(desk, turn, f"[Memory: {memory} tokens]")
        for line in recalled_lines(turn.memory):
            self._show(desk, turn, line)  # not in the log, which never has what people said
        tape = desk.session_log.tape
        length = len(tape.text()) if tape is not None else 0
        self._debug(desk, turn, f"[Response: {length} characters, {state.value}]")


def _failure_of(error: Exception) -> Failure:
    """What readers and the record are told of an error that ended a turn."""
    if isinstance(error, LoopDetected):
        return Failure("llm_error", "The model made the same call with the same outcome again and again.")
    if isinstance(error, LLMError):
        reason = "llm_timeout" if isinstance(error, LLMTimeout) else "llm_error"
        return Failure(reason, str(error), error.detail, error.status)
    if isinstance(error, HectorError) and not isinstance(error.__cause__, Unwritable):
        return Failure("storage_unavailable", f"The database failed: {error}")
    return OUR_FAULT
