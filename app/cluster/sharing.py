"""Sharing: which replica works on a session, decided when it is opened: this one, or the one that is asked for it.

An open session that nobody owns becomes ours. If another replica has it and needs it no more, it gives it up; otherwise
it is shown here as a mirror, and what changes it is done there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from app.agents import Roster
from app.cluster import shadows
from app.cluster.followers import Followers
from app.cluster.lending import MOVED, Lending
from app.cluster.mirror import Mirror
from app.cluster.operations import Operation
from app.cluster.wire import ReplicaGone, Wire
from app.domain.errors import HectorError, Unavailable
from app.domain.message import Message
from app.domain.turn import Outcome, Turn, TurnState
from app.events.elsewhere import OwnerGone
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.observability.tasks import Tasks
from app.storage import events, messages, replicas, sessions, turns
from app.storage.connection import Connection
from app.storage.engine.fence import Lease
from app.storage.engine.unit_of_work import WriteConflict, WriteFailed
from app.turns.history import History
from app.turns.open_turn import OpenTurn

if TYPE_CHECKING:  # loaded where there is a tail
    from app.cluster.tail import RedisTail

log = logging.getLogger(__name__)

ASK_SECONDS = 30.0
"""How long the owner may take to carry out what it is asked."""
VISIT_SECONDS = 5.0
RETRY_SECONDS = 0.1
RECOVER_SECONDS = 1.0
"""Between two attempts to look at the open turns of a session that was taken over."""


class Takeover(Protocol):
    """Who brings open turns of a session that was taken over to their end, or goes on with them."""

    async def recover_session(self, session_log: SessionLog) -> None: ...


class Sharing:
    """The sessions of this replica and of the others (the `Ownership` of `LiveSessions`)."""

    def __init__(
        self,
        live: LiveSessions,
        wire: Wire,
        roster: Roster,
        history: History,
        *,
        replica_id: str,
        lease: Lease,
        lease_seconds: float,
        is_alive: Callable[[str], bool],
        takeover: Takeover,
        settle_ending: Callable[[SessionLog], None],
        receipt_of: Callable[[str], Awaitable[dict[str, Any] | None]],
        tail: RedisTail | None = None,
    ) -> None:
        self._live = live
        self._wire = wire
        self._roster = roster
        self._history = history
        self.replica_id = replica_id
        self.lease = lease
        self._patience_seconds = lease_seconds + 5.0
        self._is_alive = is_alive
        self._takeover = takeover
        self._settle_ending = settle_ending
        self._receipt_of = receipt_of
        self._mirrors: dict[str, Mirror] = {}
        self._operations: dict[str, Operation] = {}
        self._tasks = Tasks()
        self.takeovers = 0
        """Sessions with open turns that this replica went on with."""
        self.on_takeover: Callable[[], None] = _ignore
        self._tail = tail
        self.followers = Followers(
            live,
            lambda to, session_id, upto: wire.hint([to], f"{session_id} {upto}"),
            has_tail=lambda: tail is not None and tail.writer.is_up,
        )
        if tail is not None:
            live.make_tail = tail.writer.tail_of
            live.erase_tail = tail.writer.erase
            tail.writer.on_change = self.followers.touch_all
            tail.reader.on_change = self._look_at_all
        self.lending = Lending(live, wire, self.followers, replica_id=replica_id)
        wire.on_hint = self._hinted
        wire.on_reconnected = self._look_at_all

    def serve(self, operations: dict[str, Operation]) -> None:
        """Carry these out for other replicas, and have them carry them out for us."""
        self._operations |= operations
        self.lending.serve(operations)

    # -- opening (the `Ownership` of LiveSessions) ----------------------------------------------

    async def open(self, session_id: str, *, own: bool = False) -> SessionLog | None:
        """The session, ours or shown; `None`: there is none. `own`: only as ours, once its owner needs it no more.

        Raises:
            Unavailable: the database does not answer, or no replica has taken the session over in time.
        """
        give_up = monotonic() + self._patience_seconds
        while monotonic() < give_up:
            mirror = self._mirrors.get(session_id)
            if mirror is None and (warm := self.lending.ours(session_id)) is not None:
                return warm
            if mirror is None:
                claim = await self._claim(session_id)
                if claim.session is None:
                    return None
                if claim.owner is None:
                    return await self._own(claim)
                mirror = await self._make_mirror(claim)
            try:
                if not self._is_alive(mirror.owner):
                    raise OwnerGone
                if await self._visit(mirror, own=own):
                    await self._claim_for(mirror)
                    continue
            except OwnerGone:
                if not await self._claim_for(mirror):
                    await asyncio.sleep(RETRY_SECONDS)
                continue
            if not own:
                return mirror.session_log
            await asyncio.sleep(RETRY_SECONDS)
        raise Unavailable("The server that works on this session does not answer; try again in a moment.")

    async def _claim(self, session_id: str) -> replicas.Claim:
        claim = replicas.claim(session_id, me=self.replica_id)
        try:
            await self._live.durable.database.submit(claim.unit)
        except (WriteFailed, WriteConflict) as error:
            raise Unavailable(f"The session cannot be opened: {error}") from error
        return claim

    async def _own(self, claim: replicas.Claim) -> SessionLog:
        """The session is ours: as a warm one that readers of a mirror go on with, or a new one."""
        assert claim.session is not None
        session_id = claim.session.session_id
        mirror = self._mirrors.get(session_id)
        waiting: list[OpenTurn] = []
        if self._tail is not None and claim.has_turns:
            await self._tail.rescue(self._live.durable.database, claim.session)
        if mirror is not None:
            await mirror.take_rest()
            del self._mirrors[session_id]
            waiting = mirror.end()
            session_log = mirror.session_log
            session_log.begin_to_own(claim.session)
            session_log.tail = None if self._tail is None else self._tail.writer.tail_of(session_log)
        else:
            session_log = self._live.add(claim.session)
        if claim.has_turns:
            self.takeovers += 1
            self.on_takeover()
            await self._recover(session_log)
        if session_log.session.ending is not None and not session_log.is_busy:
            self._settle_ending(session_log)
        for turn in waiting:
            self._tasks.start(self._pass_on(session_log, turn), name=f"end of {turn.turn_id}, which went on here")
        if mirror is not None:
            session_log.wake()
        return session_log

    async def _recover(self, session_log: SessionLog) -> None:
        """Bring its open turns to their end, or go on with them; nobody uses the session before that is done."""
        while True:
            try:
                await self._takeover.recover_session(session_log)
            except Unavailable as error:
                log.warning("session %s is not taken over yet: %s", session_log.session.session_id, error)
                await asyncio.sleep(RECOVER_SECONDS)
            else:
                return

    async def _pass_on(self, session_log: SessionLog, turn: OpenTurn) -> None:
        """Tell those who wait for a turn of the mirror how it ended as ours."""
        try:
            found = await self._history.find(session_log, turn.turn_id)
        except HectorError:  # the session was terminated, or the database is away
            turn.settle(Outcome(turn.turn_id, TurnState.INTERRUPTED, "shutdown"))
            return
        if isinstance(found, Turn):
            turn.settle(await self._history.outcome_of(session_log, found))
            return
        if found.parked.is_set():
            turn.state = found.state
            turn.parked.set()
        turn.settle(await asyncio.shield(found.done))

    async def _make_mirror(self, claim: replicas.Claim) -> Mirror:
        assert claim.session is not None
        assert claim.owner is not None
        session_id = claim.session.session_id
        session_log = self._live.add(claim.session)
        agent = self._roster.find(claim.session.agent)
        mirror = Mirror(
            self,
            session_log,
            claim.owner,
            agent,
            history=self._history,
            journal=self._live.durable.journal,
            receipt_of=self._receipt_of,
        )
        self._mirrors[session_id] = mirror
        found = await session_log.database.read(partial(_open_turns, session_id=session_id))
        if mirror.desk is not None:
            shadows.fill(mirror.desk, [(shadows.shadow_of(*one), one[0]) for one in found])
        await mirror.rewind()
        return mirror

    async def _visit(self, mirror: Mirror, *, own: bool) -> bool:
        """Whether the owner has given the session up; otherwise the mirror is as new as its owner was."""
        body = f"{self.replica_id} own" if own else self.replica_id
        answer = await self.ask(mirror, "visit", body.encode(), seconds=VISIT_SECONDS)
        if answer == b"":
            return True
        await mirror.show(int(answer))
        return mirror.is_over

    def _move(self, mirror: Mirror, claim: replicas.Claim) -> None:
        """The session has another owner now, or is gone."""
        if claim.owner is not None and claim.owner != mirror.owner:
            mirror.look_again(claim.owner)
        if claim.session is None:
            mirror.look_for_end()

    async def _claim_for(self, mirror: Mirror) -> bool:
        """The owner of a mirror is gone: take its place, or find out who did. False: neither is possible yet."""
        claim = await self._claim(mirror.session_id)
        if claim.session is not None and claim.owner is None:
            await self._own(claim)
            return True
        before = mirror.owner
        self._move(mirror, claim)
        return claim.session is None or mirror.owner != before

    # -- what mirrors need (the `Office`) -------------------------------------------------------

    async def ask(self, mirror: Mirror, operation: str, body: bytes, *, seconds: float = ASK_SECONDS) -> bytes:
        """See `Office.ask`."""
        try:
            return await self._wire.call(mirror.owner, operation, mirror.session_id, body, seconds=seconds)
        except ReplicaGone:
            raise OwnerGone from None
        except Unavailable as error:
            if error.reason == MOVED:
                raise OwnerGone from None
            raise

    def encode(self, operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return self._operations[operation].encode(args, kwargs)

    def decode(self, operation: str, answer: bytes) -> Any:
        return self._operations[operation].decode(answer)

    async def settle(self, mirror: Mirror) -> None:
        """See `Elsewhere.settled`."""
        if await self._live.open(mirror.session_id) is None:
            await mirror.show_end()

    @property
    def has_tail(self) -> bool:
        """See `Office.has_tail`."""
        return self._tail is not None and self._tail.reader.is_up

    @property
    def is_degraded(self) -> bool:
        """See `Office.is_degraded`."""
        return self._tail is not None and not self._tail.reader.is_up

    def listen(self, mirror: Mirror) -> None:
        """See `Office.listen`."""
        if self._tail is not None:
            self._tail.reader.follow(mirror)

    def listen_no_more(self, mirror: Mirror) -> None:
        """See `Office.listen`."""
        if self._tail is not None:
            self._tail.reader.leave(mirror)

    def keep(self, mirror: Mirror) -> None:
        """See `Office.keep`."""
        self._mirrors.setdefault(mirror.session_id, mirror)

    # -- what other replicas say ----------------------------------------------------------------

    def _hinted(self, session_id: str, upto: str) -> None:
        mirror = self._mirrors.get(session_id)
        if mirror is not None:
            mirror.hint(int(upto))

    async def read_again(self, session_id: str) -> None:
        """The rows of a session that may be shown here were changed: show it as it is stored. Raises Unavailable."""
        mirror = self._mirrors.get(session_id)
        if mirror is None:
            return
        session = await self._live.durable.database.read(partial(sessions.find, session_id=session_id))
        if session is not None and not mirror.is_over:
            mirror.session_log.follow_owner([], mirror.session_log.visible_seq, session)

    def _look_at_all(self) -> None:
        """Hints may have been missed."""
        for mirror in list(self._mirrors.values()):
            mirror.look_again()

    # -- again and again ------------------------------------------------------------------------

    async def tend(self) -> None:
        """Drop mirrors that nobody reads, find new owners for the others, and take over open turns that have none."""
        self.followers.expire()
        self.lending.tend()
        for session_id, mirror in list(self._mirrors.items()):
            if mirror.is_over or mirror.is_unused:
                self._drop(session_id, mirror)
        if self._mirrors:
            known = list(self._mirrors.items())  # others may come while the database is asked
            ids = [session_id for session_id, _ in known]
            found = await self._live.durable.database.read(partial(replicas.owners, session_ids=ids))
            for session_id, mirror in known:
                owner = found.get(session_id)
                if owner is None and session_id in found:
                    await self._guarded(self._live.open(session_id))
                elif owner is None:
                    mirror.look_for_end()
                elif owner != mirror.owner:
                    mirror.look_again(owner)
        if not self.lending.is_stopping:
            for session_id in await self._live.durable.database.read(partial(replicas.orphans, limit=200)):
                await self._guarded(self._live.open(session_id))

    def _drop(self, session_id: str, mirror: Mirror) -> None:
        """Keep it no more. A request that still holds it goes on asking the owner."""
        del self._mirrors[session_id]
        if self._live.peek(session_id) is mirror.session_log:
            self._live.remove(session_id)
            mirror.session_log.desk = mirror.desk

    async def _guarded(self, work: Awaitable[object]) -> None:
        try:
            await work
        except HectorError as error:
            log.warning("a session could not be taken over yet: %s", error)
        except Exception:  # the edge of the task
            log.exception("a session could not be taken over, by our fault")

    def replica_died(self, replica_id: str) -> None:
        self.followers.remove_replica(replica_id)

    @property
    def mirrors(self) -> int:
        return len(self._mirrors)

    async def close(self) -> None:
        for mirror in list(self._mirrors.values()):
            await mirror.close()
        await self.followers.close()
        await self._tasks.cancel()


def _ignore() -> None:
    """Nobody counts."""


def _open_turns(connection: Connection, session_id: str) -> list[tuple[Turn, int, Message | None]]:
    """The turns of the session that are not over, each with the number of its first event and its message."""
    found = []
    for turn in turns.unfinished_of(connection, session_id):
        started = turn.first_seq
        asked = None
        if turn.state is not TurnState.QUEUED:
            started = events.start_of(connection, session_id, turn.turn_id) or turn.first_seq
            asked = messages.find(connection, session_id=session_id, message_id=turn.user_message_id)
        found.append((turn, started, asked))
    return found
