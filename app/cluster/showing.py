"""Showing: fills the log and the desk of a mirror from what its owner stores, and from the tail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson

from app.cluster import shadows
from app.cluster.arrivals import Arrivals
from app.cluster.tail_entry import Entry
from app.domain.errors import HectorError
from app.domain.event import EventKind, SessionTerminated, TurnFinished
from app.domain.session import Session, SessionStatus
from app.domain.turn import Outcome, TurnState
from app.events.journal import REPLAY_ROWS, Journal, as_runs
from app.events.run import Run, fact_run
from app.observability.tasks import Tasks
from app.storage import events, sessions, turns
from app.storage.connection import Connection
from app.turns.desk import Desk
from app.turns.history import History
from app.turns.open_turn import OpenTurn

if TYPE_CHECKING:
    from app.cluster.mirror import Mirror


log = logging.getLogger(__name__)


class Showing:
    def __init__(
        self,
        mirror: Mirror,
        *,
        history: History,
        journal: Journal,
        receipt_of: Callable[[str], Awaitable[dict[str, Any] | None]],
    ) -> None:
        """`receipt_of`: of a session that was terminated."""
        self._mirror = mirror
        self._session_log = mirror.session_log
        self._history = history
        self._journal = journal
        self._receipt_of = receipt_of
        self._wanted = mirror.session_log.visible_seq
        self._pulling: asyncio.Task[HectorError | None] | None = None
        self._tasks = Tasks()
        self._arrivals = Arrivals(mirror, self)
        self._noting = asyncio.Lock()
        """Held while events move the desk: the journal and the tail tell of the same ones."""

    @property
    def session_id(self) -> str:
        return self._session_log.session.session_id

    @property
    def _desk(self) -> Desk | None:
        return self._mirror.desk

    def arrived(self, entry: Entry) -> None:
        """The next entry of the tail."""
        self._arrivals.add(entry)

    async def take(self, entry: Entry) -> None:
        """Show an entry of the tail that has facts. Raises Unavailable."""
        session_log, session_id = self._session_log, self.session_id
        async with self._noting:
            at = session_log.visible_seq
            runs = entry.runs_after(at)
            for run in runs:
                if run.count == 0:
                    await self._note(run)
            session = await session_log.database.read(lambda connection: sessions.find(connection, session_id))
            if session_log.elsewhere is not self._mirror:
                return
            if session is None:
                await self._terminated()
            elif session_log.visible_seq == at and entry.upto > at:
                session_log.follow_owner(runs, entry.upto, session)

    def hint(self, upto: int) -> None:
        """The owner has stored the events up to this number, or the session is over."""
        self._wanted = max(self._wanted, upto)
        if not self._mirror.is_over and (self._pulling is None or self._pulling.done()):
            self._pulling = self._tasks.start(self._try_to_pull(), name=f"events of {self.session_id}")

    async def show(self, upto: int) -> None:
        """Return when readers here have the events up to this number. Raises Unavailable."""
        self._wanted = max(self._wanted, upto)
        while not self._mirror.is_over and self._session_log.visible_seq < upto:
            self.hint(upto)
            assert self._pulling is not None
            if (failure := await asyncio.shield(self._pulling)) is not None:
                raise failure

    def look_for_end(self) -> None:
        """See `Mirror.look_for_end`."""
        if not self._mirror.is_over:
            self._tasks.start(self._try_to_show_end(), name=f"end of {self.session_id}")

    async def _try_to_show_end(self) -> None:
        try:
            await self.show_end()
        except HectorError as error:
            log.debug("whether session %s is over is not known yet: %s", self.session_id, error)

    async def show_end(self) -> None:
        """See `Mirror.show_end`."""
        session_log, session_id = self._session_log, self.session_id
        async with self._noting:
            session = await session_log.database.read(lambda connection: sessions.find(connection, session_id))
            if session is None and session_log.elsewhere is self._mirror:
                await self._terminated()

    async def rewind(self) -> None:
        """Read what the open turn has said so far, up to where readers here are. Raises Unavailable."""
        running = self._desk.open if self._desk is not None else None
        if running is None:
            return
        session_log = self._session_log
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
        session_log = self._session_log
        session = await session_log.database.read(lambda connection: sessions.find(connection, self.session_id))
        if session is not None:
            await self._pull(session.reserved_seq)

    async def _try_to_pull(self) -> HectorError | None:
        """Why it failed, if it did: the owner is asked again how far it is, by those who read or wait."""
        try:
            await self._pull()
        except HectorError as error:
            log.debug("session %s is not shown further yet: %s", self.session_id, error)
            return error
        return None

    async def _pull(self, most: int | None = None) -> None:
        """Show what the owner has stored, up to number `most` if that is given, else as far as it has said."""
        while not self._mirror.is_over and self._session_log.visible_seq < (self._wanted if most is None else most):
            async with self._noting:
                if not await self._pull_page(most):
                    break
        self._arrivals.show()

    async def _pull_page(self, most: int | None) -> bool:
        """Whether there may be more."""
        session_log, session_id = self._session_log, self.session_id
        after, upto = session_log.visible_seq, self._wanted if most is None else most

        def read(connection: Connection) -> tuple[events.Page, Session] | None:
            session = sessions.find(connection, session_id)
            if session is None:
                return None
            page = events.page(connection, session_id, after=after, upto=upto, limit=REPLAY_ROWS, snapshots=True)
            return page, session

        found = await session_log.database.read(read)
        if session_log.elsewhere is not self._mirror:
            return False
        if found is None:
            await self._terminated()
            return False
        page, session = found
        runs = as_runs(page, after=after, upto=upto)
        for run in runs:
            if run.count == 0:
                await self._note(run)
        if session_log.elsewhere is not self._mirror or session_log.visible_seq != after:
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
        desk, turn_id = self._desk, run.turn_id
        if desk is None or turn_id is None:
            return
        turn = desk.find(turn_id)
        if run.kind in (EventKind.TURN_QUEUED, EventKind.TURN_STARTED):
            turn = turn or await self._find(turn_id, run)
            if turn is not None:
                shadows.place(desk, turn, run)
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
        stored = await self._session_log.database.read(
            lambda connection: turns.find(connection, session_id=session_id, turn_id=turn_id)
        )
        return None if stored is None or stored.state.is_final else shadows.shadow_of(stored, run.first)

    async def _end(self, desk: Desk, turn: OpenTurn, run: Run) -> None:
        session_id, turn_id = self.session_id, turn.turn_id
        stored = await self._session_log.database.read(
            lambda connection: turns.find(connection, session_id=session_id, turn_id=turn_id)
        )
        if stored is not None and stored.state.is_final:
            turn.settle(await self._history.outcome_of(self._session_log, stored))
        else:  # readers were told, because the database could not store it
            told = orjson.loads(run.payload)
            turn.settle(
                Outcome(turn_id, TurnState(told["status"]), told.get("reason"), self._session_log.visible_text())
            )
        shadows.remove(desk, turn)

    async def _terminated(self) -> None:
        """The session has no rows any more: tell its last events, whose numbers its receipt tells."""
        session_log, session_id = self._session_log, self.session_id
        receipt = await self._receipt_of(session_id)
        ends = [
            *([self._desk.open] if self._desk and self._desk.open else []),
            *(self._desk.queue if self._desk else []),
        ]
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
        self._mirror.end()
        session_log.follow_owner(runs, last, session_log.session)

    def _answer_of(self, turn: OpenTurn) -> str | None:
        """The id of the message that the turn was saying, if it had said anything of it."""
        tape = self._session_log.tape
        has_text = tape is not None and tape.turn_id == turn.turn_id and any(tape.segments())
        return turn.message_id if has_text else None

    def end(self) -> None:
        """Show no more of what arrives."""
        self._arrivals.clear()

    async def close(self) -> None:
        await self._arrivals.close()
        await self._tasks.cancel()
