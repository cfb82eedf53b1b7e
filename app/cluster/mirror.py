"""Mirror: a session that another replica owns, shown here as if it were ours.

It fills the log and the desk of a warm session from the stored events instead of from a model, so that every door reads
it in the same way. What changes the session is sent to the owner.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any, Protocol

import orjson

from app.agents import Agent
from app.cluster.arrivals import Arrivals
from app.cluster.tail_entry import Entry
from app.domain.errors import HectorError, Unavailable, session_over
from app.domain.event import EventKind, SessionTerminated, TurnFinished
from app.domain.message import Message
from app.domain.session import Session, SessionStatus
from app.domain.turn import Outcome, Turn, TurnState
from app.events.elsewhere import OwnerGone
from app.events.journal import REPLAY_ROWS, Journal, as_runs
from app.events.live import IN_USE_SECONDS
from app.events.log import NOT_OURS, SessionLog, StopOrder
from app.events.run import Run, fact_run
from app.observability.tasks import Tasks
from app.storage import events, sessions, turns
from app.storage.connection import Connection
from app.turns.ask import Ask
from app.turns.desk import Desk, desk_of
from app.turns.history import History
from app.turns.open_turn import OpenTurn

log = logging.getLogger(__name__)

REPEAT_SECONDS = 5.0
"""A replica that shows a session to readers says so again after this long."""
RETRY_SECONDS = 0.2
"""The same while the owner does not answer."""


class Office(Protocol):
    """What a mirror needs of the room it is in (sharing.py)."""

    replica_id: str

    async def ask(self, mirror: Mirror, operation: str, body: bytes) -> bytes:
        """The owner's answer. Raises OwnerGone, Unavailable, and what the owner raises."""
        ...

    def encode(self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes: ...

    def decode(self, operation: str, answer: bytes) -> Any: ...

    async def settle(self, mirror: Mirror) -> None:
        """See `Elsewhere.settled`."""
        ...

    @property
    def has_tail(self) -> bool:
        """Whether events come by the tail at the moment."""
        ...

    @property
    def is_degraded(self) -> bool:
        """Whether they should, and do not."""
        ...

    def listen(self, mirror: Mirror) -> None:
        """Have the mirror given what comes by the tail, if there is one."""
        ...

    def listen_no_more(self, mirror: Mirror) -> None: ...

    def keep(self, mirror: Mirror) -> None:
        """Somebody reads the mirror, which may have been dropped: tend it, and pass hints on to it."""
        ...


class Mirror:
    """One session of another replica (an `Elsewhere`, and the host of its desk)."""

    def __init__(
        self,
        office: Office,
        session_log: SessionLog,
        owner: str,
        agent: Agent | None,
        *,
        history: History,
        journal: Journal,
        receipt_of: Callable[[str], Awaitable[dict[str, Any] | None]],
    ) -> None:
        """`agent`: the session's, if it is known here. `receipt_of`: of a session that was terminated."""
        self.session_log = session_log
        self.owner = owner
        self.is_followed = False
        """Whether the owner tells us of every event."""
        self.is_over = False
        """Whether this shows the session no more: it is ours, or gone."""
        self._office = office
        self._history = history
        self._journal = journal
        self._receipt_of = receipt_of
        self._wanted = session_log.visible_seq
        self._pulling: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._follow_now = asyncio.Event()
        self._tasks = Tasks()
        self._arrivals = Arrivals(self)
        self._noting = asyncio.Lock()
        """Held while events move the desk: the journal and the tail tell of the same ones."""
        self.desk = Desk(session_log, agent, self) if agent is not None else None
        session_log.elsewhere = self
        session_log.tail = None
        session_log.session = replace(session_log.session, epoch=NOT_OURS)
        session_log.desk = self.desk

    @property
    def session_id(self) -> str:
        return self.session_log.session.session_id

    @property
    def shown_upto(self) -> int:
        return self.session_log.visible_seq

    # -- Elsewhere ------------------------------------------------------------------------------

    async def call(self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See `Elsewhere.call`."""
        if self.session_log.readers:
            await self.follow()  # else the owner believes that nobody reads the turn that begins
        answer = await self._office.ask(self, "do " + operation, self._office.encode(operation, args, kwargs))
        upto, _, result = answer.partition(b"\n")
        await self.show(int(upto))
        return self._office.decode(operation, result)

    @property
    def is_degraded(self) -> bool:
        return self._office.is_degraded

    async def settled(self) -> None:
        """See `Elsewhere.settled`."""
        await self._office.settle(self)

    async def turn(self, turn_id: str) -> OpenTurn:
        """A turn of this session that the owner has told of, open or over.

        Raises:
            SessionOver, Unavailable.
        """
        if (found := self._open(turn_id)) is not None:
            return found
        try:
            await self.follow()  # the owner may not have told us of it yet
        except OwnerGone:
            await self.settled()
        if (found := self._open(turn_id)) is not None:
            return found
        stored = await self._stored(turn_id)
        if (found := self._open(turn_id)) is not None:
            return found
        turn = _shadow(stored, stored.first_seq)
        if not stored.state.is_final:
            fill_desk(self, [(turn, stored)])
            stored = await self._stored(turn_id)  # it may have ended before it was there to be told so
        if stored.state.is_final:
            turn.settle(await self._history.outcome_of(self.session_log, stored))
            if self.desk is not None:
                _remove(self.desk, turn)
                self.desk.settle()
        return turn

    def _open(self, turn_id: str) -> OpenTurn | None:
        """On this desk, or on that of the session which has become ours."""
        desk = desk_of(self.session_log) or self.desk
        return desk.find(turn_id) if desk is not None else None

    async def _stored(self, turn_id: str) -> Turn:
        session_id = self.session_id
        stored = await self.session_log.database.read(
            lambda connection: turns.find(connection, session_id=session_id, turn_id=turn_id)
        )
        if stored is None and (over := self.session_log.over) is not None:
            raise session_over(over.value, session_id)
        if stored is None:
            raise Unavailable("The turn is not there yet; look for it in a moment.")
        return stored

    # -- the host of the desk -------------------------------------------------------------------

    def readers_changed(self, desk: Desk) -> None:
        """Have the owner tell us of the events as long as somebody here reads them."""
        if self.is_over or (self._following is not None and not self._following.done()):
            return
        if desk.session_log.readers:
            self._office.keep(self)
            self._following = self._tasks.start(self._keep_following(), name=f"following {self.session_id}")

    def order_stop(self, desk: Desk) -> StopOrder:
        """Never asked: a terminate is the owner's."""
        return StopOrder([], None, lambda: 0)

    async def _keep_following(self) -> None:
        """Follow while there are readers, then say that we leave."""
        self._office.listen(self)
        while self.session_log.readers and not self.is_over:
            try:
                await self.follow()
            except HectorError as error:
                log.debug("session %s is not followed yet: %s", self.session_id, error)
                self.is_followed = False
            except Exception:
                self.is_followed = False
                log.debug("session %s has no owner at the moment", self.session_id, exc_info=True)
            self._follow_now.clear()
            pause = REPEAT_SECONDS if self.is_followed else RETRY_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._follow_now.wait(), pause)
        self.is_followed = False
        self._office.listen_no_more(self)
        if not self.is_over:
            try:
                await self._office.ask(self, "leave", self._office.replica_id.encode())
            except Exception:
                log.debug("session %s is not left: its owner forgets us by itself", self.session_id, exc_info=True)

    def look_again(self, owner: str | None = None) -> None:
        """Hints may have been missed, or the session has another owner: follow it anew at once."""
        self.owner = owner or self.owner
        self.is_followed = False
        self._follow_now.set()

    async def follow(self) -> None:
        """Have the owner tell us of every event from now on. Raises OwnerGone, Unavailable."""
        how = " tail" if self._office.has_tail else ""
        answer = await self._office.ask(self, "follow", f"{self._office.replica_id}{how}".encode())
        self.is_followed = True
        await self.show(int(answer))

    # -- showing --------------------------------------------------------------------------------

    def arrived(self, entry: Entry) -> None:
        """See `Viewer.arrived`."""
        self._arrivals.add(entry)

    async def take(self, entry: Entry) -> None:
        """Show an entry of the tail that has facts. Raises Unavailable."""
        session_log, session_id = self.session_log, self.session_id
        async with self._noting:
            at = session_log.visible_seq
            runs = entry.runs_after(at)
            for run in runs:
                if run.count == 0:
                    await self._note(run)
            session = await session_log.database.read(lambda connection: sessions.find(connection, session_id))
            if session_log.elsewhere is not self:
                return
            if session is None:
                await self._terminated()
            elif session_log.visible_seq == at and entry.upto > at:
                session_log.follow_owner(runs, entry.upto, session)

    def hint(self, upto: int) -> None:
        """The owner has stored the events up to this number, or the session is over."""
        self._wanted = max(self._wanted, upto)
        if not self.is_over and (self._pulling is None or self._pulling.done()):
            self._pulling = self._tasks.start(self._pull(), name=f"events of {self.session_id}")

    async def show(self, upto: int) -> None:
        """Return when readers here have the events up to this number. Raises Unavailable."""
        self._wanted = max(self._wanted, upto)
        while not self.is_over and self.session_log.visible_seq < upto:
            self.hint(upto)
            assert self._pulling is not None
            await asyncio.shield(self._pulling)

    async def rewind(self) -> None:
        """Read what the open turn has said so far, up to where readers here are. Raises Unavailable."""
        running = self.desk.open if self.desk is not None else None
        if running is None:
            return
        session_log = self.session_log
        after, upto = running.started_seq - 1, session_log.visible_seq
        while after < upto and (runs := await self._journal.replay(self.session_id, after=after, upto=upto)):
            session_log.replay_owner(runs)
            after = runs[-1].last

    async def take_rest(self) -> None:
        """Show all that the owner has stored: it tells us nothing more. Raises Unavailable."""
        self._arrivals.clear()
        await self._arrivals.settled()
        if self._pulling is not None:
            await asyncio.wait([self._pulling])
        session_log = self.session_log
        session = await session_log.database.read(lambda connection: sessions.find(connection, self.session_id))
        if session is not None:
            await self._pull(session.reserved_seq)

    async def _pull(self, most: int | None = None) -> None:
        """Show what the owner has stored, up to number `most` if that is given, else as far as it has said."""
        while not self.is_over and self.session_log.visible_seq < (self._wanted if most is None else most):
            async with self._noting:
                if not await self._pull_page(most):
                    break
        self._arrivals.show()

    async def _pull_page(self, most: int | None) -> bool:
        """Whether there may be more."""
        session_log, session_id = self.session_log, self.session_id
        after, upto = session_log.visible_seq, self._wanted if most is None else most

        def read(connection: Connection) -> tuple[events.Page, Session] | None:
            session = sessions.find(connection, session_id)
            if session is None:
                return None
            page = events.page(connection, session_id, after=after, upto=upto, limit=REPLAY_ROWS, snapshots=True)
            return page, session

        found = await session_log.database.read(read)
        if session_log.elsewhere is not self:
            return False
        if found is None:
            await self._terminated()
            return False
        page, session = found
        runs = as_runs(page, after=after, upto=upto)
        for run in runs:
            if run.count == 0:
                await self._note(run)
        if session_log.elsewhere is not self or session_log.visible_seq != after:
            return True
        last = runs[-1].last if runs else 0
        if most is None:
            last = max(last, min(page.horizon, upto))
        elif not runs:
            return False
        session_log.follow_owner(runs, last, session)
        return True

    async def _note(self, run: Run) -> None:
        """Keep the desk true to what the event says."""
        desk, turn_id = self.desk, run.turn_id
        if desk is None or turn_id is None:
            return
        turn = desk.find(turn_id)
        if run.kind in (EventKind.TURN_QUEUED, EventKind.TURN_STARTED):
            turn = turn or await self._find(turn_id, run)
            if turn is not None:
                _place(desk, turn, run)
        elif turn is None:
            return
        elif run.kind is EventKind.WAITING:
            turn.state, turn.waiting_for = TurnState.WAITING, orjson.loads(run.payload).get("waiting_for")
            turn.parked.set()
        elif run.kind is EventKind.RESUMED:
            turn.state, turn.waiting_for = TurnState.RUNNING, None
            turn.parked.clear()
        elif run.kind is EventKind.TURN_FINISHED:
            await self._end(desk, turn, run)
        desk.settle()

    async def _find(self, turn_id: str, run: Run) -> OpenTurn | None:
        session_id = self.session_id
        stored = await self.session_log.database.read(
            lambda connection: turns.find(connection, session_id=session_id, turn_id=turn_id)
        )
        return None if stored is None or stored.state.is_final else _shadow(stored, run.first)

    async def _end(self, desk: Desk, turn: OpenTurn, run: Run) -> None:
        session_id, turn_id = self.session_id, turn.turn_id
        stored = await self.session_log.database.read(
            lambda connection: turns.find(connection, session_id=session_id, turn_id=turn_id)
        )
        if stored is not None and stored.state.is_final:
            turn.settle(await self._history.outcome_of(self.session_log, stored))
        else:  # readers were told, because the database could not store it
            told = orjson.loads(run.payload)
            turn.settle(
                Outcome(turn_id, TurnState(told["status"]), told.get("reason"), self.session_log.visible_text())
            )
        _remove(desk, turn)

    async def _terminated(self) -> None:
        """The session has no rows any more: tell its last events, whose numbers its receipt tells."""
        session_log, session_id = self.session_log, self.session_id
        receipt = await self._receipt_of(session_id)
        ends = [*([self.desk.open] if self.desk and self.desk.open else []), *(self.desk.queue if self.desk else [])]
        session_log.over = SessionStatus.TERMINATED
        session_log.cut()
        last = int(receipt["last_seq"]) if receipt is not None else session_log.visible_seq + len(ends) + 1
        last = max(last, session_log.visible_seq + len(ends) + 1)
        facts = [
            TurnFinished(turn.turn_id, TurnState.CANCELLED, self._answer_of(turn), "session_terminated")
            for turn in ends
        ]
        now = time.time_ns() // 1_000_000
        runs = [fact_run(last - len(ends) + place, fact, at_ms=now) for place, fact in enumerate(facts)]
        runs.append(fact_run(last, SessionTerminated(session_id), at_ms=now))
        for turn in ends:
            turn.settle(Outcome(turn.turn_id, TurnState.CANCELLED, "session_terminated"))
        self.end()
        session_log.follow_owner(runs, last, session_log.session)

    def _answer_of(self, turn: OpenTurn) -> str | None:
        """The id of the message that the turn was saying, if it had said anything of it."""
        tape = self.session_log.tape
        has_text = tape is not None and tape.turn_id == turn.turn_id and any(tape.segments())
        return turn.message_id if has_text else None

    # -- the end --------------------------------------------------------------------------------

    def end(self) -> list[OpenTurn]:
        """Show the session no more; returns the turns whose end somebody here may wait for."""
        self.is_over = True
        self._arrivals.clear()
        self._office.listen_no_more(self)
        self.session_log.elsewhere = None
        desk = self.desk
        left = [] if desk is None else [*([desk.open] if desk.open else []), *desk.queue]
        if self.session_log.desk is desk:
            self.session_log.desk = None
        self.session_log.is_busy = False
        self.session_log.tape = None
        return [turn for turn in left if not turn.done.done()]

    @property
    def is_unused(self) -> bool:
        """Whether nobody here reads the session or waits for it."""
        session_log = self.session_log
        return not session_log.readers and session_log.used_clock < monotonic() - IN_USE_SECONDS

    async def close(self) -> None:
        await self._arrivals.close()
        await self._tasks.cancel()


def fill_desk(mirror: Mirror, open_turns: list[tuple[OpenTurn, Turn]]) -> None:
    """Put open turns of the session on the mirror's desk, as they are stored."""
    desk = mirror.desk
    if desk is None:
        return
    for turn, stored in open_turns:
        turn.state = stored.state
        if stored.state is TurnState.QUEUED:
            desk.queue.append(turn)
        else:
            desk.open = turn
            turn.started_seq = turn.after + 1
            turn.waiting_for = stored.waiting_for
            if stored.state is TurnState.WAITING:
                turn.parked.set()
    desk.settle()


def shadow_of(stored: Turn, started_seq: int, asked: Message | None) -> tuple[OpenTurn, Turn]:
    """A turn for `fill_desk`: `started_seq` is the number of its start, `asked` its message."""
    return _shadow(stored, started_seq, asked), stored


def _shadow(stored: Turn, first_seq: int, asked: Message | None = None) -> OpenTurn:
    """An open turn that another replica runs: nothing here stops it, starts it, or gives it a grace."""
    text = asked.content if asked is not None else stored.text
    turn = OpenTurn(
        turn_id=stored.turn_id,
        ask=Ask(text, stored.instructions, response_format=stored.response_format),
        user_message_id=stored.user_message_id,
        message_id=stored.message_id,
        background=stored.background,
        created_ms=stored.created_ms,
        created_clock=monotonic(),
        done=asyncio.get_running_loop().create_future(),
        grace_seconds=None,
        after=first_seq - 1,
    )
    turn.started_clock = turn.created_clock
    turn.started_ms = stored.started_ms or 0
    return turn


def _place(desk: Desk, turn: OpenTurn, run: Run) -> None:
    if run.kind is EventKind.TURN_QUEUED:
        if turn is not desk.open and turn not in desk.queue:
            turn.after = run.first - 1
            desk.queue.append(turn)
        return
    if turn in desk.queue:
        desk.queue.remove(turn)
    desk.open = turn
    turn.state, turn.started_seq = TurnState.RUNNING, run.first


def _remove(desk: Desk, turn: OpenTurn) -> None:
    if desk.open is turn:
        desk.open = None
    if turn in desk.queue:
        desk.queue.remove(turn)
