"""Followers: other replicas that show sessions of ours to readers. They are told how far the stored events go.

A follower counts as a reader. Text is stored a little earlier than usual for it: every `TICK_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from app.events.live import LiveSessions
from app.events.log import SessionLog
from app.observability.tasks import Tasks

TICK_SECONDS = 0.04
EXPIRY_SECONDS = 15.0
"""A follower that has not repeated itself for so long is dropped."""


class Follower:
    """One replica that shows one session (a `Listener` of its log)."""

    def __init__(self, followers: Followers, session_log: SessionLog, replica_id: str) -> None:
        self._followers = followers
        self.has_tail = False
        """Whether it reads the events in the tail: then it needs no hints, and no text is stored earlier for it."""
        self.session_log = session_log
        self.replica_id = replica_id
        self.said_clock = monotonic()

    def notify(self) -> None:
        self._followers.touch(self)

    def cut(self) -> None:
        """The session is terminated: the follower is told when that is stored."""


class Followers:
    """All followers of this replica's sessions."""

    def __init__(
        self, live: LiveSessions, hint: Callable[[str, str, int], None], *, has_tail: Callable[[], bool]
    ) -> None:
        """`hint(replica id, session id, number)`: tell a replica up to which number a session is stored.

        `has_tail`: whether our events go to the tail at the moment.
        """
        self._live = live
        self._has_tail = has_tail
        self._hint = hint
        self._found: dict[tuple[str, str], Follower] = {}
        self._touched: set[Follower] = set()
        self._told: dict[Follower, int] = {}
        self._tasks = Tasks()
        self._is_ticking = False

    def add(self, session_log: SessionLog, replica_id: str, *, has_tail: bool = False) -> int:
        """Have the replica told of the session's events; returns the number up to which they are stored."""
        key = (replica_id, session_log.session.session_id)
        follower = self._found.get(key)
        if follower is None or follower.session_log is not session_log:
            if follower is not None:
                self._drop(key)
            follower = self._found[key] = Follower(self, session_log, replica_id)
            session_log.enter(follower)
        follower.said_clock = monotonic()
        follower.has_tail = has_tail
        self.touch(follower)
        return stored_upto(session_log)

    def remove(self, session_id: str, replica_id: str) -> bool:
        """Whether it was there."""
        key = (replica_id, session_id)
        if key not in self._found:
            return False
        self._drop(key)
        return True

    def remove_replica(self, replica_id: str) -> None:
        """The replica has died."""
        for key in [key for key in self._found if key[0] == replica_id]:
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        follower = self._found.pop(key)
        self._touched.discard(follower)
        self._told.pop(follower, None)
        follower.session_log.leave(follower)

    def touch(self, follower: Follower) -> None:
        """Something has happened in the session of this follower."""
        if follower.has_tail and self._has_tail() and follower.session_log.over is None:
            return
        self._touched.add(follower)
        if not self._is_ticking:
            self._is_ticking = True
            self._tasks.start(self._tick(), name="hints to other servers")

    def touch_all(self) -> None:
        """The tail has come or gone."""
        for follower in self._found.values():
            self.touch(follower)

    async def _tick(self) -> None:
        """Store and tell until everything that has happened is stored and told."""
        try:
            while self._touched:
                for follower in list(self._touched):
                    self._tell(follower)
                await asyncio.sleep(TICK_SECONDS)
        finally:
            self._is_ticking = False

    def _tell(self, follower: Follower) -> None:
        session_log = follower.session_log
        upto = stored_upto(session_log)
        if upto > self._told.get(follower, -1) or session_log.over is not None:
            self._told[follower] = upto
            self._hint(follower.replica_id, session_log.session.session_id, upto)
        if upto < session_log.reach and session_log.over is None:
            journal = self._live.store_of(session_log).journal
            journal.write_facts(session_log)
            journal.write(session_log)
        else:
            self._touched.discard(follower)

    def expire(self) -> None:
        """Drop the followers that have forgotten to say that they leave."""
        before = monotonic() - EXPIRY_SECONDS
        for key in [key for key, follower in self._found.items() if follower.said_clock < before]:
            self._drop(key)

    async def close(self) -> None:
        await self._tasks.cancel()


def stored_upto(session_log: SessionLog) -> int:
    """The number up to which every event of the session is stored."""
    upto = session_log.reach
    tape = session_log.tape
    return upto if tape is None else min(upto, tape.stored_upto(upto))
