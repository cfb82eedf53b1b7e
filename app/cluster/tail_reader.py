"""TailReader: the tails of all sessions that this replica shows, read by one blocking command at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.cluster import tail_entry
from app.cluster.tail_entry import Entry
from app.observability.tasks import Tasks

log = logging.getLogger(__name__)

BLOCK_MS = 2_000
"""How long a command waits for entries; what does not answer a second later is away."""
PAUSE_SECONDS, PAUSE_SECONDS_EACH = 0.004, 0.000_005
"""Between two commands, so that the entries of many sessions come together; more for each session that is followed."""
RETRY_SECONDS = 0.5
MOST_ENTRIES = 256
"""Of one session at a time."""
DOORBELL_MS = 60_000


class Viewer(Protocol):
    """Who shows a session."""

    @property
    def session_id(self) -> str: ...

    @property
    def shown_upto(self) -> int: ...

    def arrived(self, entry: Entry) -> None:
        """The next entry. Called on the loop."""
        ...


class TailReader:
    """One for the process, with two connections: one that waits, and one that rings at it."""

    def __init__(self, waiting: Redis, ringing: Redis, key_of: Callable[[str], str], doorbell: str) -> None:
        """`doorbell`: a key of this replica's own, whose entries end the waiting command."""
        self._waiting = waiting
        self._ringing = ringing
        self._key_of = key_of
        self._doorbell = doorbell.encode()
        self._viewers: dict[bytes, Viewer] = {}
        self._cursors: dict[bytes, str] = {}
        self._tasks = Tasks()
        self._is_ringing = False
        self.is_up = False
        self.on_change: Callable[[], None] = _ignore
        """Called when the tail has come or gone."""

    def follow(self, viewer: Viewer) -> None:
        """Give the viewer the entries above what it shows."""
        key = self._key_of(viewer.session_id).encode()
        if self._viewers.get(key) is viewer:
            return
        self._viewers[key] = viewer
        self._cursors[key] = f"{viewer.shown_upto}-0"
        if self.is_up and not self._is_ringing:
            self._is_ringing = True
            self._tasks.start(self._ring(), name="doorbell of the tail")

    def leave(self, viewer: Viewer) -> None:
        key = self._key_of(viewer.session_id).encode()
        if self._viewers.get(key) is viewer:
            del self._viewers[key], self._cursors[key]

    async def _ring(self) -> None:
        """Have the waiting command begin anew, with the sessions that came meanwhile."""
        self._is_ringing = False
        try:
            pipeline = self._ringing.pipeline(transaction=False)
            pipeline.execute_command("XADD", self._doorbell, "MAXLEN", 1, "*", "ring", "")
            pipeline.execute_command("PEXPIRE", self._doorbell, DOORBELL_MS)
            await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("the tail cannot be rung at: %s", error)  # the command ends by itself

    async def run(self) -> None:
        """Read until cancelled; connect again and again."""
        try:
            while True:
                try:
                    await self._connect()
                    while True:
                        await self._read()
                        await asyncio.sleep(PAUSE_SECONDS + PAUSE_SECONDS_EACH * len(self._viewers))
                except (RedisError, OSError, TimeoutError) as error:
                    log.debug("the tail cannot be read: %s", error)
                    self._set(is_up=False)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._set(is_up=False)

    async def close(self) -> None:
        await self._tasks.cancel()

    async def _connect(self) -> None:
        await self._waiting.ping()
        for key, viewer in self._viewers.items():
            self._cursors[key] = f"{viewer.shown_upto}-0"
        self._cursors[self._doorbell] = "0-0"
        self._set(is_up=True)

    def _set(self, *, is_up: bool) -> None:
        was_up, self.is_up = self.is_up, is_up
        if was_up is not is_up:
            self.on_change()

    async def _read(self) -> None:
        cursors = dict(self._cursors)
        command = ("XREAD", "BLOCK", BLOCK_MS, "COUNT", MOST_ENTRIES, "STREAMS", *cursors, *cursors.values())
        answer = await self._waiting.execute_command(*command)  # type: ignore[no-untyped-call]
        for key, entries in answer or ():
            if not entries or key not in self._cursors:
                continue
            self._cursors[key] = entries[-1][0].decode()
            if (viewer := self._viewers.get(key)) is not None:
                for number, fields in entries:
                    self._give(viewer, number, fields)

    def _give(self, viewer: Viewer, number: bytes, fields: Any) -> None:
        encoded = fields.get(tail_entry.FIELD)
        if encoded is None:
            return
        try:
            viewer.arrived(tail_entry.decode(encoded))
        except Exception:  # one session must not end the reading of all; the journal has its events
            log.exception("entry %s of session %s could not be shown", number.decode(), viewer.session_id)


def _ignore() -> None:
    """Nobody wants to know."""
