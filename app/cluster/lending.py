"""Lending: what this replica does for others with its sessions: gives them up, tells of their events, changes them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from time import monotonic

from app.cluster.followers import Followers, stored_upto
from app.cluster.operations import Operation
from app.cluster.wire import Wire
from app.domain.errors import Unavailable
from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.storage import replicas
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed

MOVED = "moved"
"""The reason of a replica that does not own the session any more."""
QUIET_SECONDS = 1.0
"""A session that was used so recently is not given up: its user will come back here."""


class Lending:
    """One for the process; it serves its commands on the wire."""

    def __init__(self, live: LiveSessions, wire: Wire, followers: Followers, *, replica_id: str) -> None:
        self._live = live
        self._wire = wire
        self._followers = followers
        self._replica_id = replica_id
        self._used: dict[str, float] = {}
        """Of sessions of ours: when another replica used them last."""
        self.is_stopping = False
        """Whether sessions are given up as soon as they are asked for."""
        wire.serve("visit", self._visited)
        wire.serve("follow", self._followed)
        wire.serve("leave", self._left)

    def serve(self, operations: dict[str, Operation]) -> None:
        """Carry these out for other replicas."""
        for name, operation in operations.items():
            self._wire.serve("do " + name, partial(self._do, operation))

    def tend(self) -> None:
        """Forget sessions that are not ours any more."""
        self._used = {session_id: used for session_id, used in self._used.items() if self.ours(session_id) is not None}

    async def _visited(self, session_id: str, body: bytes) -> bytes:
        """Another replica opens the session: give it up if it is not needed here, else say how far it is stored."""
        session_log = await self._live.opened(session_id)
        if session_log is None or session_log.elsewhere is not None:
            await self._release([session_id])
            return b""
        visitor, _, wish = body.decode().partition(" ")
        if (self.is_stopping or wish == "own" or self._is_quiet(session_log)) and self._is_let_go(session_log, visitor):
            self._live.remove(session_id)
            session_log.is_released = True
            await self._release([session_id])
            return b""
        return b"%d" % stored_upto(session_log)

    def _is_quiet(self, session_log: SessionLog) -> bool:
        """Whether nobody here will come back to it: nobody was here lately, or others have used it since."""
        used = session_log.used_clock
        return used <= monotonic() - QUIET_SECONDS or used == self._used.get(session_log.session.session_id)

    def _is_let_go(self, session_log: SessionLog, visitor: str) -> bool:
        """Whether nobody needs it here but the replica that asks for it, whose readers go on where it goes."""
        session_id = session_log.session.session_id
        if session_log.readers != 1 or session_log.is_busy or not self._followers.remove(session_id, visitor):
            return self._live.is_droppable(session_log)
        if self._live.is_droppable(session_log):
            return True
        self._followers.add(session_log, visitor)
        return False

    async def _release(self, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            unit = UnitOfWork(session_id)
            replicas.add_release(unit, me=self._replica_id)
            try:
                await self._live.durable.database.submit(unit)
            except (WriteFailed, WriteConflict) as error:
                raise Unavailable(f"The session cannot be given up: {error}") from error

    def ours(self, session_id: str) -> SessionLog | None:
        """The session if it is warm and ours."""
        session_log = self._live.peek(session_id)
        return None if session_log is None or session_log.elsewhere is not None else session_log

    async def _followed(self, session_id: str, body: bytes) -> bytes:
        session_log = self.ours(session_id)
        if session_log is None:
            raise Unavailable("The session is not here any more.", reason=MOVED)
        replica_id, _, how = body.decode().partition(" ")
        return b"%d" % self._followers.add(session_log, replica_id, has_tail=how == "tail")

    async def _left(self, session_id: str, body: bytes) -> bytes:
        self._followers.remove(session_id, body.decode())
        return b""

    async def _do(self, operation: Operation, session_id: str, body: bytes) -> bytes:
        """Carry out what another replica asks of a session of ours."""
        session_log = await self._live.open(session_id)
        if session_log is None:
            raise Unavailable("The session is not here any more.", reason=MOVED)
        self._used[session_id] = session_log.used_clock
        answer = await operation.carry_out(session_log, body)
        return b"%d\n%b" % (stored_upto(session_log), answer)
