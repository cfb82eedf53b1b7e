"""Mirror: a session that another replica owns, shown here as if it were ours.

It fills the log and the desk of a warm session from the stored events instead of from a model, so that every door reads
it in the same way. What changes the session is sent to the owner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any, Protocol

from app.agents import Agent
from app.cluster import shadows
from app.cluster.showing import Showing
from app.cluster.tail_entry import Entry
from app.domain.errors import HectorError, Unavailable, session_over
from app.domain.turn import Turn
from app.events.elsewhere import OwnerGone
from app.events.journal import Journal
from app.events.live import IN_USE_SECONDS
from app.events.log import NOT_OURS, SessionLog, StopOrder
from app.observability.tasks import Tasks
from app.storage import turns
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
        self._following: asyncio.Task[None] | None = None
        self._follow_now = asyncio.Event()
        self._tasks = Tasks()
        self._showing = Showing(self, history=history, journal=journal, receipt_of=receipt_of)
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
        turn = shadows.shadow_of(stored, stored.first_seq)
        if not stored.state.is_final:
            if self.desk is not None:
                shadows.fill(self.desk, [(turn, stored)])
            stored = await self._stored(turn_id)  # it may have ended before it was there to be told so
        if stored.state.is_final:
            turn.settle(await self._history.outcome_of(self.session_log, stored))
            if self.desk is not None:
                shadows.remove(self.desk, turn)
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
        self._showing.arrived(entry)

    def hint(self, upto: int) -> None:
        """The owner has stored the events up to this number, or the session is over."""
        self._showing.hint(upto)

    async def show(self, upto: int) -> None:
        """Return when readers here have the events up to this number. Raises Unavailable."""
        await self._showing.show(upto)

    def look_for_end(self) -> None:
        """The session may have been terminated: if it was, tell its end."""
        self._showing.look_for_end()

    async def show_end(self) -> None:
        """If the session was terminated, tell its end. Raises Unavailable."""
        await self._showing.show_end()

    async def rewind(self) -> None:
        """Read what the open turn has said so far, up to where readers here are. Raises Unavailable."""
        await self._showing.rewind()

    async def take_rest(self) -> None:
        """Show all that the owner has stored: it tells us nothing more. Raises Unavailable."""
        await self._showing.take_rest()

    # -- the end --------------------------------------------------------------------------------

    def end(self) -> list[OpenTurn]:
        """Show the session no more; returns the turns whose end somebody here may wait for."""
        self.is_over = True
        self._showing.end()
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
        await self._showing.close()
        await self._tasks.cancel()
