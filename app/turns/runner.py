"""Runner: starts turns, queues them, stops them, and brings each to exactly one end.

A turn belongs to the server, not to the request that began it: the runner keeps its task. All
decisions about one session are plain code between two awaits on one loop; the database repeats
them as conditions, so that a mistake here is an error and not a double.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from app.agents import Agent
from app.domain.errors import (
    Conflict,
    HectorError,
    QuotaExceeded,
    Unavailable,
    session_over,
)
from app.domain.event import EventKind
from app.domain.ids import NewId
from app.domain.message import Message, Role
from app.domain.session import SessionStatus
from app.domain.turn import OnBusy, Turn, TurnState, Usage
from app.events.live import LiveSessions
from app.events.log import SessionLog, StopOrder
from app.events.run import Run
from app.events.tape import Tape
from app.llm.base import LLM, LLMError, LLMStopped, LLMTimeout
from app.observability.tasks import Tasks
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.turns import begin, engine
from app.turns.begin import Key
from app.turns.desk import Ask, Desk, OpenTurn, Outcome
from app.turns.facts import show
from app.turns.finish import add_usage, timings_of, write_end
from app.turns.keys import forget, hash_body, once
from app.turns.memory import TurnMemory
from app.turns.recalling import recalled_lines
from app.turns.report import Reporter, ids
from app.turns.summaries import Summaries

log_ = logging.getLogger(__name__)


class Runner:
    """Owns every running turn of this process."""

    def __init__(
        self,
        live: LiveSessions,
        *,
        new_id: NewId,
        clock_ms: Callable[[], int],
        on_busy: OnBusy = "queue",
        max_queue: int = 16,
        reporter: Reporter | None = None,
        memory: TurnMemory | None = None,
        summaries: Summaries | None = None,
    ) -> None:
        self._live = live
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._on_busy = on_busy
        self._max_queue = max_queue
        self._reporter = reporter
        self._memory = memory
        self._summaries = summaries or Summaries(live, clock_ms=clock_ms)
        self._tasks = Tasks()
        self._running: set[OpenTurn] = set()
        self._stopping = False

    # -- starting -------------------------------------------------------------------------------

    async def start(
        self,
        log: SessionLog,
        agent: Agent,
        ask: Ask,
        *,
        background: bool = False,
        on_busy: OnBusy | None = None,
        key: str | None = None,
        grace_seconds: float | None,
        debug: bool = False,
    ) -> OpenTurn | str:
        """Accept a user message: when this returns it is stored, and its turn runs or is queued.

        Returns the open turn; or, for an idempotency `key` used before, that turn (or its id if it is over).

        Raises:
            SessionOver, Conflict (`session_busy`, `idempotency_conflict`), QuotaExceeded (`queue_full`),
            Unavailable: nothing was stored.
        """
        desk = self._desk(log, agent)
        turn = self._new_turn(desk, ask, background=background, grace_seconds=grace_seconds, debug=debug)
        if key is None:
            return await self._accept(desk, turn, on_busy, None)
        keyed = (key, hash_body(ask, background, on_busy))
        return await once(desk, self._live.store_of(log), keyed, lambda: self._accept(desk, turn, on_busy, keyed))

    def _new_turn(
        self, desk: Desk, ask: Ask, *, background: bool, grace_seconds: float | None, debug: bool
    ) -> OpenTurn:
        return OpenTurn(
            turn_id=self._new_id("turn"),
            ask=ask,
            user_message_id=ask.again.message_id if ask.again is not None else self._new_id("msg"),
            message_id=self._new_id("msg"),
            background=background,
            created_ms=self._clock_ms(),
            created_clock=time.monotonic(),
            done=asyncio.get_running_loop().create_future(),
            grace_seconds=None if background else grace_seconds,
            wants_debug=debug or desk.agent.config.reasoning.show_debug_info,
        )

    def check_accepts(self, log: SessionLog) -> None:
        """Raise what a new message would be refused with: the session is over, ending, or we shut down."""
        if log.over is not None:
            raise session_over(log.over.value, log.session.session_id)
        if log.session.status is not SessionStatus.ACTIVE:
            raise session_over(log.session.status.value, log.session.session_id)
        if log.session.ending is not None:
            raise session_over(log.session.ending.value, log.session.session_id)
        if self._stopping:
            raise Unavailable("The server is shutting down; try again in a moment.", reason="shutting_down")

    async def _accept(self, desk: Desk, turn: OpenTurn, on_busy: OnBusy | None, key: Key | None) -> OpenTurn:
        """Start, queue or refuse; no await before the decision has taken its place on the desk."""
        self.check_accepts(desk.log)
        policy = on_busy or self._on_busy
        if not desk.log.is_busy:
            if turn.ask.again is not None and turn.ask.again.as_of != desk.log.last_seq:
                raise Conflict("Another message came first; look at the history again.", reason="session_busy")
            await self._start_now(desk, turn, key)
            return turn
        if policy == "reject" or turn.ask.again is not None:
            running = desk.open or (desk.queue[0] if desk.queue else None)
            raise Conflict(
                "A turn is running in this session; wait for it, cancel it, or send on_busy: queue or replace.",
                reason="session_busy",
                details={"turn_id": running.turn_id if running else None},
            )
        if len(desk.queue) + desk.joining >= self._max_queue:
            raise QuotaExceeded(
                f"{self._max_queue} messages are waiting in this session already; try again later.",
                reason="queue_full",
            )
        await self._enqueue(desk, turn, key, in_front=policy == "replace")
        return turn

    async def _start_now(self, desk: Desk, turn: OpenTurn, key: Key | None) -> None:
        log = desk.log
        desk.open = turn
        desk.put_last(turn)
        desk.settle()
        started = begin.take_started(desk, turn, now_ms=self._clock_ms())
        turn.after = started.first - 1
        unit, reserved = begin.starting(desk, turn, started, key)
        written = self._live.store_of(log).database.submit(unit)
        try:
            await self._started(desk, turn, started, reserved, written)
        except asyncio.CancelledError:
            self._tasks.start(self._started(desk, turn, started, reserved, written), name=f"start of {turn.turn_id}")
            raise

    async def _started(
        self, desk: Desk, turn: OpenTurn, started: Run, reserved: int, written: asyncio.Future[None]
    ) -> None:
        try:
            await begin.committed(desk.log, written)
        except HectorError:
            desk.open = None
            desk.log.void(started)
            self._next(desk)
            raise
        self._launch(desk, turn, started, reserved)

    async def _enqueue(self, desk: Desk, turn: OpenTurn, key: Key | None, *, in_front: bool) -> None:
        log = desk.log
        desk.joining += 1
        desk.settle()
        if in_front:
            desk.put_first(turn)
        else:
            desk.put_last(turn)
        queued = begin.take_queued(desk, turn)
        unit, reserved = begin.queueing(desk, turn, queued, key)
        written = self._live.store_of(log).database.submit(unit)
        joining = (desk, turn, queued, reserved, written)
        try:
            await self._joined(*joining, in_front=in_front)
        except asyncio.CancelledError:
            self._tasks.start(self._joined(*joining, in_front=in_front), name=f"queueing of {turn.turn_id}")
            raise

    async def _joined(
        self,
        desk: Desk,
        turn: OpenTurn,
        queued: Run,
        reserved: int,
        written: asyncio.Future[None],
        *,
        in_front: bool,
    ) -> None:
        log = desk.log
        try:
            await begin.committed(log, written)
            begin.count(desk, turn.created_ms, reserved, messages=0)
            if log.over is not None:
                raise session_over(log.over.value, log.session.session_id)
        except HectorError:
            desk.joining -= 1
            log.void(queued)
            self._next(desk)
            raise
        desk.joining -= 1
        desk.queue.insert(0 if in_front else len(desk.queue), turn)
        log.publish(queued)
        if in_front and desk.open is not None:
            self._stop(desk.open, TurnState.CANCELLED, "replaced")
        self._next(desk)

    async def add(self, log: SessionLog, agent: Agent, role: Role, content: str) -> Message:
        """Put a message into the history without a turn.

        Raises:
            Conflict (`session_busy`): a turn is open, whose place in the history is not settled.
            SessionOver, Unavailable: nothing was stored.
        """
        self.check_accepts(log)
        desk = self._desk(log, agent)
        if log.is_busy:
            raise Conflict("A turn is open in this session; wait for its end.", reason="session_busy")
        desk.joining += 1
        desk.settle()
        now = self._clock_ms()
        message = Message(
            self._new_id("msg"), log.session.session_id, "", role, content, "completed", log.take_silent(), now
        )
        unit, reserved = begin.adding(desk, message, now_ms=now)
        try:
            await begin.commit(log, self._live.store_of(log), unit)
            begin.count(desk, now, reserved, messages=1)
            desk.window = desk.is_remembered = None
        finally:
            desk.joining -= 1
            self._next(desk)
        return message

    def adopt(self, log: SessionLog, agent: Agent, stored: Turn, *, grace_seconds: float | None) -> None:
        """Take over a queued turn of a predecessor; it starts when its place has come."""
        desk = self._desk(log, agent)
        turn = OpenTurn(
            turn_id=stored.turn_id,
            ask=Ask(stored.text, stored.instructions),
            user_message_id=stored.user_message_id,
            message_id=stored.message_id,
            background=stored.background,
            created_ms=stored.created_ms,
            created_clock=time.monotonic() - max(self._clock_ms() - stored.created_ms, 0) / 1000,
            done=asyncio.get_running_loop().create_future(),
            grace_seconds=None if stored.background else grace_seconds,
            after=stored.first_seq - 1,
        )
        desk.put_last(turn)
        desk.queue.append(turn)
        desk.settle()

    def resume_queues(self) -> None:
        """Start the adopted turns; called once the server is ready."""
        for log in self._live.all():
            if log.desk is not None:
                self._next(log.desk)

    def reread(self, log: SessionLog) -> None:
        """Stored messages or summaries were changed from elsewhere: the next turn reads them anew."""
        desk: Desk | None = log.desk
        if desk is not None:
            self._summaries.stop(desk)
            desk.window = desk.summary = desk.is_remembered = None

    # -- stopping -------------------------------------------------------------------------------

    async def cancel(
        self,
        log: SessionLog,
        *,
        turn_id: str | None = None,
        everything: bool = False,
        wait_seconds: float = 2.0,
    ) -> OpenTurn | None:
        """Cancel the running turn, the named one, or all; `None` when none was open.

        Returns when the turn is over, at the latest after `wait_seconds`. A turn that is over already
        is not an error: `None`.
        """
        desk: Desk | None = log.desk
        if desk is None:
            return None
        target = desk.open if turn_id is None else desk.find(turn_id)
        doomed = [turn for turn in desk.queue if everything or turn is target]
        for turn in doomed:  # all at once: none may begin while the end of another is being written
            desk.queue.remove(turn)
        desk.settle()
        if target is not None and target is desk.open:
            self._stop(target, TurnState.CANCELLED, "cancelled")
        ends = [self._finish(desk, turn, TurnState.CANCELLED, "cancelled", None, None) for turn in doomed]
        await asyncio.gather(*ends)
        if target is not None:
            await asyncio.wait([target.done], timeout=wait_seconds)
        return target

    def _stop(self, turn: OpenTurn, state: TurnState, reason: str | None) -> None:
        if turn.stop is None:
            turn.stop = (state, reason)
            if turn.stream is not None:
                turn.stream.close()
            if turn.recalling is not None:
                turn.recalling.cancel()
            if turn.condensing is not None:
                turn.condensing.stop()

    def _order_stop(self, desk: Desk) -> StopOrder:
        """The session is being terminated: stop everything now; the terminate writes the ends."""
        running = desk.open
        found: list[tuple[str, str | None]] = []
        self._summaries.stop(desk)
        if running is not None:
            text = desk.log.tape is not None and bool(desk.log.tape.items)
            found.append((running.turn_id, running.message_id if text else None))
            self._stop(running, TurnState.CANCELLED, "session_terminated")
        found += [(turn.turn_id, None) for turn in desk.queue]
        for turn in [*([running] if running else []), *desk.queue]:
            self._settle_done(turn, TurnState.CANCELLED, "session_terminated", "", None)
        desk.queue.clear()
        closed = self._watch_close(running) if running is not None and running.stream is not None else None
        return StopOrder(found, closed, lambda: running.dropped if running is not None else 0)

    def _watch_close(self, turn: OpenTurn) -> asyncio.Future[int]:
        async def closed() -> int:
            assert turn.stream is not None
            await turn.stream.closed()
            return self._clock_ms()

        return self._tasks.start(closed(), name=f"closing {turn.turn_id}")

    # -- running --------------------------------------------------------------------------------

    def _launch(self, desk: Desk, turn: OpenTurn, started: Run, reserved: int) -> None:
        log = desk.log
        begin.count(desk, turn.started_ms, reserved, messages=1 if turn.ask.again is None else 0)
        if log.over is not None:  # terminated while the start was being written: its end is written too
            log.publish(started)
            desk.open = None
            desk.settle()
            return
        log.publish(started)
        log.tape = Tape(turn.turn_id)
        self._live.store_of(log).journal.follow(log)
        turn.state = TurnState.RUNNING
        self._running.add(turn)
        self._watch_readers(desk)
        turn.task = self._tasks.start(self._run(desk, turn), name=turn.turn_id)

    async def _run(self, desk: Desk, turn: OpenTurn) -> None:
        usage: Usage | None = None
        error: dict[str, object] | None = None
        state, reason = TurnState.COMPLETED, None
        try:
            if turn.wants_debug:
                self._debug(desk, turn, f"[Session: {desk.log.session.session_id}]")
                self._debug(desk, turn, f"[Message: {desk.log.session.message_count // 2 + 1}]")
            usage = await engine.answer(
                desk, turn, self._live.store_of(desk.log), memory=self._memory, summaries=self._summaries
            )
        except LLMStopped:
            state, reason = turn.stop or (TurnState.CANCELLED, "cancelled")
        except LLMTimeout as failure:
            state, reason, error = TurnState.FAILED, "llm_timeout", describe(failure, "llm_timeout")
        except LLMError as failure:
            state, reason, error = TurnState.FAILED, "llm_error", describe(failure, "llm_error")
        except (Unavailable, WriteFailed, WriteConflict) as failure:
            state, reason = TurnState.FAILED, "storage_unavailable"
            error = {"reason": reason, "message": f"The database failed: {failure}"}
        except Exception:
            log_.exception("turn %s failed by our fault", turn.turn_id, extra=ids(desk, turn))
            state, reason = TurnState.FAILED, "internal"
            error = {
                "reason": reason,
                "message": "Something went wrong on our side; the log has the details.",
            }
        if turn.stop is not None and state is not TurnState.COMPLETED:
            (state, reason), error = turn.stop, None
        if usage is None:
            usage = await engine.count_usage(desk, turn.prompt) if turn.prompt is not None else None
        try:
            await self._finish(desk, turn, state, reason, error, usage)
        except Exception:
            log_.exception("the end of turn %s failed by our fault", turn.turn_id, extra=ids(desk, turn))
            self._settle_done(turn, TurnState.FAILED, "internal", "", None)
            self._clear(desk, turn)

    def _debug(self, desk: Desk, turn: OpenTurn, line: str) -> None:
        log_.debug(line)
        show(desk.log, turn, EventKind.DEBUG, {}, chunk=line + "\n")

    async def _finish(
        self,
        desk: Desk,
        turn: OpenTurn,
        state: TurnState,
        reason: str | None,
        error: dict[str, object] | None,
        usage: Usage | None,
    ) -> None:
        """Write the one end of a turn, show it, then let the next one begin."""
        log = desk.log
        if turn.grace is not None:
            turn.grace.cancel()
        if log.over is None:
            if turn.wants_debug and turn.started_clock:
                self._debug_end(desk, turn, state)
            outcome = await write_end(
                desk,
                turn,
                self._live.store_of(log),
                state,
                reason,
                error,
                usage,
                clock_ms=self._clock_ms,
                memory=self._memory,
            )
            self._settle_done(turn, outcome.state, outcome.reason, outcome.text, outcome)
            self._summaries.consider(desk)
        else:  # the terminate has written the end
            outcome = Outcome(
                turn.turn_id,
                TurnState.CANCELLED,
                "session_terminated",
                "",
                None,
                dict(usage.to_json()) if usage is not None else None,
                timings_of(turn),
                None,
            )
        if self._reporter is not None:
            self._reporter.turn_ended(desk, turn, outcome)
        if usage is not None and (log.session.ephemeral or not turn.is_stored):
            # What was used was used, also where nothing else is kept.
            unit = UnitOfWork("")
            add_usage(unit, desk, usage, self._clock_ms())
            self._live.durable.database.submit(unit)
        self._clear(desk, turn)

    def _clear(self, desk: Desk, turn: OpenTurn) -> None:
        """The turn is over: make room for the next one."""
        log = desk.log
        self._running.discard(turn)
        if desk.open is turn:
            self._live.store_of(log).journal.unfollow(log)
            log.tape = None
            desk.open = None
        forget(desk, turn)
        self._next(desk)
        if not log.readers and not log.is_busy and not log.session.ephemeral:
            log.forget_tail()

    def _debug_end(self, desk: Desk, turn: OpenTurn, state: TurnState) -> None:
        count = desk.agent.llm.count_tokens
        prompt = turn.prompt
        memory = sum([item.count(count) for item in prompt.messages]) + prompt.memory_tokens if prompt else 0
        self._debug(desk, turn, f"[Memory: {memory} tokens]")
        for line in recalled_lines(turn.memory):
            self._debug(desk, turn, line)
        tape = desk.log.tape
        length = len(tape.text()) if tape is not None else 0
        self._debug(desk, turn, f"[Response: {length} characters, {state.value}]")

    def _settle_done(
        self, turn: OpenTurn, state: TurnState, reason: str | None, text: str, outcome: Outcome | None
    ) -> None:
        turn.state = state
        if not turn.done.done():
            turn.done.set_result(outcome or Outcome(turn.turn_id, state, reason, text, None, None, None, None))

    def _next(self, desk: Desk) -> None:
        """Begin the first queued turn if none is open; tell whoever waits that the session is idle."""
        if desk.open is None and desk.queue and not self._stopping and desk.log.over is None:
            turn = desk.queue.pop(0)
            desk.open = turn
            self._tasks.start(self._start_queued(desk, turn), name=f"start of {turn.turn_id}")
        desk.settle()
        if not desk.log.is_busy and desk.log.on_idle is not None:
            desk.log.on_idle()

    async def _start_queued(self, desk: Desk, turn: OpenTurn) -> None:
        log = desk.log
        started = begin.take_started(desk, turn, now_ms=self._clock_ms())
        unit, reserved = begin.starting_queued(desk, turn, started)
        try:
            await begin.commit(log, self._live.store_of(log), unit)
        except HectorError as error:
            log.void(started)
            if log.over is not None:
                return
            if not isinstance(error, Unavailable):
                log_.error("turn %s cannot begin: %s", turn.turn_id, error, extra=ids(desk, turn))
                await self._finish(desk, turn, TurnState.FAILED, "internal", None, None)
                return
            # The message is stored and stays queued: it waits for the database.
            desk.open = None
            desk.queue.insert(0, turn)
            desk.settle()
            await asyncio.sleep(1)
            self._next(desk)
            return
        self._launch(desk, turn, started, reserved)

    # -- readers and their grace ----------------------------------------------------------------

    def _watch_readers(self, desk: Desk) -> None:
        turn = desk.open
        if turn is None or turn.state is not TurnState.RUNNING or turn.grace_seconds is None or self._stopping:
            return
        if desk.log.readers:
            if turn.grace is not None:
                turn.grace.cancel()
                turn.grace = None
        elif turn.grace is None:
            loop = asyncio.get_running_loop()
            turn.grace = loop.call_later(turn.grace_seconds, self._grace_over, desk, turn)

    def _grace_over(self, desk: Desk, turn: OpenTurn) -> None:
        if not desk.log.readers and not self._stopping:
            self._stop(turn, TurnState.CANCELLED, "disconnected")

    # -- shutdown -------------------------------------------------------------------------------

    def begin_shutdown(self) -> None:
        """Accept nothing more and begin nothing more; what runs may go on, without a grace for readers."""
        self._stopping = True
        for turn in self._running:
            if turn.grace is not None:
                turn.grace.cancel()
                turn.grace = None

    async def finish_shutdown(self, *, grace_seconds: float) -> None:
        """Wait for the running turns, then stop the rest as `interrupted`, and wait until that is written."""
        running = [turn.done for turn in self._running]
        if running:
            await asyncio.wait(running, timeout=grace_seconds)
        for _ in range(10):  # a queued turn that was just starting joins late
            for turn in list(self._running):
                self._stop(turn, TurnState.INTERRUPTED, "shutdown")
            await self._tasks.wait(seconds=0.5)
        await self._tasks.cancel()

    @property
    def running(self) -> int:
        """How many turns run now."""
        return len(self._running)

    async def wait_unused(self, llm: LLM) -> None:
        """Until no running turn asks this model any more."""
        if waited := [turn.done for turn in self._running if turn.llm is llm]:
            await asyncio.wait(waited)

    @property
    def streaming(self) -> int:
        """How many of them have a model's stream open."""
        return sum([turn.stream is not None and turn.stop is None for turn in self._running])

    # -- parts ----------------------------------------------------------------------------------

    def _desk(self, log: SessionLog, agent: Agent) -> Desk:
        desk: Desk | None = log.desk
        if desk is None:
            desk = log.desk = Desk(log, agent)
            log.on_readers = lambda: self._watch_readers(desk)
            log.on_terminate = lambda: self._order_stop(desk)
        elif desk.agent is not agent:  # the configuration was read anew
            desk.agent, desk.window = agent, None
        return desk


def describe(error: LLMError, reason: str) -> dict[str, object]:
    """The wire object of a model's failure: our sentence, and the provider's own words."""
    fields: dict[str, object] = {"reason": reason, "message": str(error)}
    if error.detail:
        fields["detail"] = error.detail
    if error.status is not None:
        fields["provider_status"] = error.status
    return fields
