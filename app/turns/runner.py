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
from dataclasses import replace

from app.agents import Agent
from app.domain.errors import (
    Conflict,
    HectorError,
    Internal,
    QuotaExceeded,
    Unavailable,
    session_not_found,
    session_over,
    turn_not_found,
)
from app.domain.event import EventKind
from app.domain.ids import NewId
from app.domain.message import Message
from app.domain.session import SessionStatus
from app.domain.turn import OnBusy, Turn, TurnState, Usage
from app.events.local_log import LiveSessions
from app.events.log import BLOCK, SessionLog, StopOrder
from app.events.run import Run
from app.events.tape import Tape
from app.llm.base import LLMError, LLMStopped, LLMTimeout
from app.observability.tasks import Tasks
from app.storage import events, messages, sessions, turns
from app.storage.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.turns import engine
from app.turns.desk import Desk, KeyedTurn, OpenTurn, Outcome, hash_body
from app.turns.finish import write_end

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
    ) -> None:
        self._live = live
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._on_busy = on_busy
        self._max_queue = max_queue
        self._tasks = Tasks()
        self._running: set[OpenTurn] = set()
        self._stopping = False

    # -- starting -------------------------------------------------------------------------------

    async def start(
        self,
        log: SessionLog,
        agent: Agent,
        text: str,
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
        if key is None:
            return await self._accept(desk, text, background, on_busy, None, grace_seconds, debug)
        body_hash = hash_body(text, background, on_busy)
        keyed = desk.keys.get(key)
        if keyed is None:
            keyed = desk.keys[key] = KeyedTurn(body_hash, asyncio.get_running_loop().create_future())
            try:
                await self._begin_keyed(desk, keyed, key, text, background, on_busy, grace_seconds, debug)
            except BaseException as error:
                desk.keys.pop(key, None)
                if not keyed.turn.done():
                    keyed.turn.set_exception(error if isinstance(error, Exception) else Internal("cancelled"))
                    keyed.turn.exception()
                raise
        if keyed.body_hash != body_hash:
            raise Conflict(
                "This Idempotency-Key was used with another body; use a new key for a new message.",
                reason="idempotency_conflict",
            )
        return await asyncio.shield(keyed.turn)

    async def _begin_keyed(
        self,
        desk: Desk,
        keyed: KeyedTurn,
        key: str,
        text: str,
        background: bool,
        on_busy: OnBusy | None,
        grace_seconds: float | None,
        debug: bool,
    ) -> None:
        session_id = desk.log.session.session_id
        store = self._live.store_of(desk.log)
        used = await store.database.read(lambda connection: turns.find_key(connection, session_id, key))
        if used is not None:
            keyed.body_hash = used[0]
            keyed.turn.set_result(desk.find(used[1]) or used[1])
            del desk.keys[key]  # the row knows it
            return
        turn = await self._accept(desk, text, background, on_busy, (key, keyed.body_hash), grace_seconds, debug)
        keyed.turn.set_result(turn)

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

    async def _accept(
        self,
        desk: Desk,
        text: str,
        background: bool,
        on_busy: OnBusy | None,
        key: tuple[str, bytes] | None,
        grace_seconds: float | None,
        debug: bool,
    ) -> OpenTurn:
        self.check_accepts(desk.log)
        policy = on_busy or self._on_busy
        turn = OpenTurn(
            turn_id=self._new_id("turn"),
            text=text,
            user_message_id=self._new_id("msg"),
            message_id=self._new_id("msg"),
            background=background,
            created_ms=self._clock_ms(),
            created_clock=time.monotonic(),
            done=asyncio.get_running_loop().create_future(),
            grace_seconds=None if background else grace_seconds,
            wants_debug=debug or desk.agent.config.reasoning.show_debug_info,
        )
        if not desk.log.is_busy:
            await self._start_now(desk, turn, key)
            return turn
        if policy == "reject":
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

    async def _start_now(self, desk: Desk, turn: OpenTurn, key: tuple[str, bytes] | None) -> None:
        log = desk.log
        desk.open = turn
        desk.last_place += 1
        turn.place = desk.last_place
        desk.settle()
        started = self._mark_started(desk, turn)
        turn.after = started.first - 1
        unit, reserved = self._start_unit(desk, turn)
        turns.add_open(unit, self._row(desk, turn), place=turn.place)
        self._add_message(unit, turn)
        self._add_fact(unit, started)
        if key is not None:
            turns.add_key(unit, key=key[0], body_hash=key[1], turn_id=turn.turn_id, now=turn.created_ms)
        try:
            await self._commit(log, unit)
        except BaseException:
            desk.open = None
            log.void(started)
            self._next(desk)
            raise
        self._launch(desk, turn, started, reserved)

    async def _enqueue(self, desk: Desk, turn: OpenTurn, key: tuple[str, bytes] | None, *, in_front: bool) -> None:
        log = desk.log
        desk.joining += 1
        desk.settle()
        if in_front:
            desk.first_place -= 1
            turn.place = desk.first_place
        else:
            desk.last_place += 1
            turn.place = desk.last_place
        queued = log.take_fact(EventKind.TURN_QUEUED, self._announcement(desk, turn), turn_id=turn.turn_id)
        turn.after = queued.first - 1
        unit, reserved = self._accept_unit(desk, messages=0)
        turns.add_open(unit, self._row(desk, turn, first=queued.first), place=turn.place)
        self._add_fact(unit, queued)
        if key is not None:
            turns.add_key(unit, key=key[0], body_hash=key[1], turn_id=turn.turn_id, now=turn.created_ms)
        try:
            await self._commit(log, unit)
        except BaseException:
            desk.joining -= 1
            log.void(queued)
            self._next(desk)
            raise
        self._count_accepted(desk, turn, reserved, messages=0)
        desk.joining -= 1
        if log.over is not None:
            log.void(queued)
            raise session_over(log.over.value, log.session.session_id)
        place = 0 if in_front else len(desk.queue)
        desk.queue.insert(place, turn)
        log.publish(queued)
        if in_front and desk.open is not None:
            self._stop(desk.open, TurnState.CANCELLED, "replaced")
        self._next(desk)

    def adopt(self, log: SessionLog, agent: Agent, stored: Turn, *, grace_seconds: float | None) -> None:
        """Take over a queued turn of a predecessor; it starts when its place has come."""
        desk = self._desk(log, agent)
        turn = OpenTurn(
            turn_id=stored.turn_id,
            text=stored.text,
            user_message_id=stored.user_message_id,
            message_id=stored.message_id,
            background=stored.background,
            created_ms=stored.created_ms,
            created_clock=time.monotonic() - max(self._clock_ms() - stored.created_ms, 0) / 1000,
            done=asyncio.get_running_loop().create_future(),
            grace_seconds=None if stored.background else grace_seconds,
            after=stored.first_seq - 1,
        )
        desk.last_place += 1
        turn.place = desk.last_place
        desk.queue.append(turn)
        desk.settle()

    def resume_queues(self) -> None:
        """Start the adopted turns; called once the server is ready."""
        for log in self._live.all():
            if log.desk is not None:
                self._next(log.desk)

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
        if everything:
            for queued in list(desk.queue):
                await self._cancel_queued(desk, queued)
        if target is None:
            return None
        if target in desk.queue:
            await self._cancel_queued(desk, target)
        else:
            self._stop(target, TurnState.CANCELLED, "cancelled")
        await asyncio.wait([target.done], timeout=wait_seconds)
        return target

    def _stop(self, turn: OpenTurn, state: TurnState, reason: str | None) -> None:
        if turn.stop is None:
            turn.stop = (state, reason)
            if turn.stream is not None:
                turn.stream.close()

    async def _cancel_queued(self, desk: Desk, turn: OpenTurn) -> None:
        if turn not in desk.queue:
            return
        desk.queue.remove(turn)
        desk.settle()
        await self._finish(desk, turn, TurnState.CANCELLED, "cancelled", None, None)

    def _order_stop(self, desk: Desk) -> StopOrder:
        """The session is being terminated: stop everything now; the terminate writes the ends."""
        running = desk.open
        found: list[tuple[str, str | None]] = []
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
        self._count_accepted(desk, turn, reserved, messages=1)
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
            usage = await engine.answer(desk, turn, self._live.store_of(desk.log))
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
            log_.exception("turn %s failed by our fault", turn.turn_id)
            state, reason = TurnState.FAILED, "internal"
            error = {
                "reason": reason,
                "message": "Something went wrong on our side; the log has the details.",
            }
        if turn.stop is not None and state is not TurnState.COMPLETED:
            (state, reason), error = turn.stop, None
        if usage is None:
            usage = await engine.count_usage(desk, turn.prompt_entries) if turn.prompt_entries else None
        try:
            await self._finish(desk, turn, state, reason, error, usage)
        except Exception:
            log_.exception("the end of turn %s failed by our fault", turn.turn_id)
            self._settle_done(turn, TurnState.FAILED, "internal", "", None)
            self._clear(desk, turn)

    def _debug(self, desk: Desk, turn: OpenTurn, line: str) -> None:
        log_.debug(line)
        run = desk.log.take_fact(EventKind.DEBUG, {}, turn_id=turn.turn_id, chunk=line + "\n")
        turn.debug.append(run)
        desk.log.publish(run)

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
                desk, turn, self._live.store_of(log), state, reason, error, usage, clock_ms=self._clock_ms
            )
            self._settle_done(turn, outcome.state, outcome.reason, outcome.text, outcome)
        self._clear(desk, turn)

    def _clear(self, desk: Desk, turn: OpenTurn) -> None:
        """The turn is over: make room for the next one."""
        log = desk.log
        self._running.discard(turn)
        if desk.open is turn:
            self._live.store_of(log).journal.unfollow(log)
            log.tape = None
            desk.open = None
        for key, keyed in list(desk.keys.items()):
            if keyed.turn.done() and not keyed.turn.exception() and keyed.turn.result() is turn:
                del desk.keys[key]  # the row knows it from now on
        self._next(desk)
        if not log.readers and not log.is_busy and not log.session.ephemeral:
            log.forget_tail()

    def _debug_end(self, desk: Desk, turn: OpenTurn, state: TurnState) -> None:
        count = desk.agent.llm.count_tokens
        memory = sum([item.count(count) for item in turn.prompt_entries])
        self._debug(desk, turn, f"[Memory: {memory} tokens]")
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
        started = self._mark_started(desk, turn)
        unit, reserved = self._start_unit(desk, turn)
        turns.add_start(unit, turn.turn_id, now=turn.started_ms, first=started.first)
        self._add_message(unit, turn)
        self._add_fact(unit, started)
        try:
            await self._commit(log, unit)
        except HectorError as error:
            log.void(started)
            if log.over is not None:
                return
            if not isinstance(error, Unavailable):
                log_.error("turn %s cannot begin: %s", turn.turn_id, error)
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

    # -- looking --------------------------------------------------------------------------------

    async def find(self, log: SessionLog, turn_id: str) -> OpenTurn | Turn:
        """A turn of this session, open or stored. Raises NotFound (`turn_not_found`)."""
        desk: Desk | None = log.desk
        if desk is not None and (turn := desk.find(turn_id)) is not None:
            return turn
        session_id = log.session.session_id
        stored = await self._live.store_of(log).database.read(
            lambda connection: turns.find(connection, session_id, turn_id)
        )
        if stored is None:
            raise turn_not_found(turn_id)
        return stored

    async def find_at(self, log: SessionLog, seq: int, text: str) -> OpenTurn | Turn | None:
        """The turn with event `seq` in it, or just ended before it, if it answers `text`."""
        for turn in self.open_turns(log):
            if turn.after < seq and turn.text == text:
                return turn
        session_id = log.session.session_id
        return await self._live.store_of(log).database.read(
            lambda connection: turns.find_at(connection, session_id, seq, text)
        )

    async def messages(self, log: SessionLog, *, before: int, limit: int) -> list[Message]:
        """A page of stored messages below number `before`, oldest first."""
        session_id = log.session.session_id
        return await self._live.store_of(log).database.read(
            lambda connection: messages.page(connection, session_id, before=before, limit=limit)
        )

    async def has_gap(self, log: SessionLog, after: int) -> bool:
        """Whether a reader at `after` would have to be told a text as a whole: events gone, or lost in a crash."""
        session_id = log.session.session_id
        return await self._live.store_of(log).database.read(
            lambda connection: events.has_gap(connection, session_id, after)
        )

    async def outcome_of(self, log: SessionLog, turn: Turn) -> Outcome:
        """The stored end of a turn, with its text."""
        session_id, seq = turn.session_id, turn.last_seq or 0
        message = await self._live.store_of(log).database.read(
            lambda connection: messages.at(connection, session_id, seq)
        )
        return Outcome(
            turn.turn_id,
            turn.state,
            turn.reason,
            message.content if message else "",
            message.message_id if message else None,
            turn.usage,
            turn.timings,
            turn.error,
        )

    def open_turns(self, log: SessionLog) -> list[OpenTurn]:
        """The running turn, then the queued ones."""
        desk: Desk | None = log.desk
        if desk is None:
            return []
        return [*([desk.open] if desk.open else []), *desk.queue]

    # -- parts ----------------------------------------------------------------------------------

    def _desk(self, log: SessionLog, agent: Agent) -> Desk:
        desk: Desk | None = log.desk
        if desk is None:
            desk = log.desk = Desk(log, agent)
            log.on_readers = lambda: self._watch_readers(desk)
            log.on_terminate = lambda: self._order_stop(desk)
        return desk

    def _mark_started(self, desk: Desk, turn: OpenTurn) -> Run:
        turn.started_ms = self._clock_ms()
        turn.started_clock = time.monotonic()
        started = desk.log.take_fact(EventKind.TURN_STARTED, self._announcement(desk, turn), turn_id=turn.turn_id)
        turn.started_seq = started.first
        return started

    def _announcement(self, desk: Desk, turn: OpenTurn) -> dict[str, object]:
        return {
            "turn_id": turn.turn_id,
            "session_id": desk.log.session.session_id,
            "message_id": turn.user_message_id,
            "message": turn.text,
        }

    def _start_unit(self, desk: Desk, turn: OpenTurn) -> tuple[UnitOfWork, int]:
        return self._accept_unit(desk, messages=1)

    def _accept_unit(self, desk: Desk, *, messages: int) -> tuple[UnitOfWork, int]:
        log = desk.log
        reserved = log.reserved_seq
        if reserved - log.last_seq < BLOCK // 2:
            reserved = log.last_seq + BLOCK
        unit = UnitOfWork(log.session.session_id)
        sessions.add_start(unit, now=self._clock_ms(), last=log.last_seq, reserved=reserved, messages=messages)
        return unit, reserved

    def _count_accepted(self, desk: Desk, turn: OpenTurn, reserved: int, *, messages: int) -> None:
        """What the unit just committed changed in the session, for the warm copy."""
        log = desk.log
        log.reserved_seq = max(log.reserved_seq, reserved)
        log.session = replace(
            log.session,
            active_ms=turn.started_ms or turn.created_ms,
            last_seq=log.last_seq,
            reserved_seq=log.reserved_seq,
            message_count=log.session.message_count + messages,
        )

    def _row(self, desk: Desk, turn: OpenTurn, *, first: int | None = None) -> Turn:
        queued = first is not None
        return Turn(
            turn_id=turn.turn_id,
            session_id=desk.log.session.session_id,
            state=TurnState.QUEUED if queued else TurnState.RUNNING,
            reason=None,
            background=turn.background,
            text=turn.text,
            user_message_id=turn.user_message_id,
            message_id=turn.message_id,
            first_seq=first if first is not None else turn.started_seq,
            last_seq=None,
            created_ms=turn.created_ms,
            started_ms=None if queued else turn.started_ms,
            finished_ms=None,
        )

    def _add_message(self, unit: UnitOfWork, turn: OpenTurn) -> None:
        messages.add_append(
            unit,
            Message(
                turn.user_message_id,
                unit.session_id,
                turn.turn_id,
                "user",
                turn.text,
                "completed",
                turn.started_seq,
                turn.started_ms,
            ),
        )

    def _add_fact(self, unit: UnitOfWork, run: Run) -> None:
        events.add_fact(
            unit, seq=run.first, kind=run.kind.value, turn_id=run.turn_id, fact=run.fact, created_ms=run.at_ms
        )

    async def _commit(self, log: SessionLog, unit: UnitOfWork) -> None:
        """Raises Unavailable, or what a new message to this session is refused with."""
        try:
            # Shielded: a caller that goes away does not decide whether its message was stored.
            await asyncio.shield(self._live.store_of(log).database.submit(unit))
        except WriteFailed as error:
            raise Unavailable(f"The message could not be stored: {error}") from error
        except WriteConflict:
            if log.over is not None or log.session.status is not SessionStatus.ACTIVE:
                raise session_over((log.over or log.session.status).value, log.session.session_id) from None
            raise session_not_found(log.session.session_id) from None


def describe(error: LLMError, reason: str) -> dict[str, object]:
    """The wire object of a model's failure: our sentence, and the provider's own words."""
    fields: dict[str, object] = {"reason": reason, "message": str(error)}
    if error.detail:
        fields["detail"] = error.detail
    if error.status is not None:
        fields["provider_status"] = error.status
    return fields
