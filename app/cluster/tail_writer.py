"""TailWriter: adds what happens in this server's sessions to the tail, a batch of all of them at a time.

While it is up, readers here see text once it is in the tail (`events.confirm: tail`), so that nothing they saw is lost
with this process; while it is down they see it at once, and other servers follow the journal.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, ResponseError

from app.cluster import tail_entry
from app.cluster.followers import stored_upto
from app.domain.event import EventKind
from app.domain.session import SessionStatus
from app.events.log import SessionLog
from app.storage.engine.fence import Lease

log = logging.getLogger(__name__)

TICK_SECONDS = 0.008
"""The shortest time between two batches. What comes after a longer pause is sent at once."""
ANSWER_SECONDS = 0.5
"""After so long without an answer readers wait for it no more."""
RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 10.0
"""The pause before another attempt is twice as long each time, up to this."""
KEEP = 128
"""Entries that stay in the tail although the journal has them, for readers elsewhere that are slow."""
TRIM_EVERY = 64
OPEN_MS = 600_000
"""How long the tail of a session stays after its newest entry, renewed while a turn runs."""
REST_MS = 5_000
"""The same after the end of a turn, whose text is stored."""


class SessionTail:
    """The tail of one session that this server owns (a `Tail` of its log)."""

    __slots__ = ("_count", "_sent", "_stored", "_writer", "session_log")

    def __init__(self, writer: TailWriter, session_log: SessionLog) -> None:
        self.session_log = session_log
        self._writer = writer
        self._sent = session_log.visible_seq
        self._stored: deque[int] = deque()
        """The last numbers of entries that the journal may lack."""
        self._count = 0

    @property
    def is_degraded(self) -> bool:
        return not self._writer.is_up

    def text_added(self) -> None:
        """See `Tail.text_added`."""
        if not self._writer.holds_text:
            self.session_log.show_upto(self.session_log.reach)
        self._writer.add(self)

    def facts_added(self) -> None:
        """See `Tail.facts_added`. What is committed is shown at once, unless text before it is not in the tail yet."""
        session_log = self.session_log
        reach = session_log.reach
        runs = session_log.runs_within(self._sent, reach)
        if session_log.over is not None or runs is None or not any(run.count for run in runs):
            session_log.show_upto(reach)
        self._writer.add(self)

    def pass_by(self) -> None:
        """The tail is away: readers here see everything, those elsewhere find it in the journal."""
        self._sent = self.session_log.reach
        self.session_log.show_upto(self._sent)

    def add_to(self, pipeline: Pipeline, key: str) -> int:
        """Put the newest events into the pipeline; returns the number that readers here may see afterwards."""
        session_log = self.session_log
        upto, after = session_log.reach, self._sent
        if session_log.over is SessionStatus.TERMINATED or session_log.is_released:
            return upto  # nothing of it is kept anywhere, or another server adds to it now
        runs = session_log.runs_within(after, upto)
        if runs is None:  # readers elsewhere find the gap, and ask the journal
            after, runs = upto, []
        elif not runs:
            return upto
        stored = stored_upto(session_log)
        entry = tail_entry.encode(after, upto, stored, runs)
        pipeline.execute_command("XADD", key, f"{upto}-0", tail_entry.FIELD, entry)
        self._sent = upto
        self._stored.append(upto)
        self._count += 1
        is_end = bool(runs) and runs[-1].kind is EventKind.TURN_FINISHED
        if is_end or self._count % TRIM_EVERY == 1:
            pipeline.execute_command("PEXPIRE", key, REST_MS if is_end else OPEN_MS)
        if self._count % TRIM_EVERY == 0:
            while self._stored and self._stored[0] <= stored:
                self._stored.popleft()
            pipeline.execute_command("XTRIM", key, "MAXLEN", len(self._stored) + KEEP)
        return upto


class TailWriter:
    """One for the process, with a connection of its own."""

    def __init__(self, client: Redis, key_of: Callable[[str], str], lease: Lease, *, confirms: bool) -> None:
        """`lease`: after its end nothing is written. `confirms`: readers here see text once it is in the tail."""
        self._client = client
        self._key_of = key_of
        self._lease = lease
        self._confirms = confirms
        self._changed: dict[SessionTail, None] = {}
        self._wanted = asyncio.Event()
        self._sending = asyncio.Lock()
        self._doomed: set[str] = set()
        """Keys that were to be deleted while the tail was away."""
        self._failures = 0
        """Since a batch was last taken."""
        self.is_up = False
        self.on_change: Callable[[], None] = _ignore
        """Called when the tail has come or gone."""
        self.entries = 0
        """How many entries were written."""

    @property
    def holds_text(self) -> bool:
        """Whether readers here wait for the tail."""
        return self._confirms and self.is_up

    def tail_of(self, session_log: SessionLog) -> SessionTail | None:
        """For a session that this server owns; sessions in memory have none."""
        return None if session_log.session.ephemeral else SessionTail(self, session_log)

    def add(self, tail: SessionTail) -> None:
        """The session has new events."""
        if not self.is_up:
            tail.pass_by()
            return
        self._changed[tail] = None
        self._wanted.set()

    async def erase(self, session_id: str) -> None:
        """Delete the tail of a session, at once if Redis answers."""
        key = self._key_of(session_id)
        self._doomed.add(key)
        self._wanted.set()
        if self.is_up:
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS), self._sending:  # after what is on its way
                    await self._delete_doomed()

    async def run(self) -> None:
        """Write until cancelled; connect again and again."""
        try:
            while True:
                try:
                    await self._connect()
                    await self._write()
                except (RedisError, OSError, TimeoutError) as error:
                    self._lose(error)
                await asyncio.sleep(min(RETRY_SECONDS * 2 ** (self._failures - 1), MAX_RETRY_SECONDS))
        finally:
            self._set(is_up=False)

    async def _connect(self) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._client.ping()
            await self._delete_doomed()
        self._set(is_up=True)

    async def _delete_doomed(self) -> None:
        if keys := list(self._doomed):
            await self._client.delete(*keys)
            self._doomed.difference_update(keys)

    def _lose(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning(
                "Redis does not answer; other servers follow the database until it does: %s", error or "time out"
            )
        self._set(is_up=False)

    def _set(self, *, is_up: bool) -> None:
        was_up, self.is_up = self.is_up, is_up
        if not is_up:
            for tail in self._changed:
                tail.pass_by()
            self._changed = {}
        if was_up is not is_up:
            self.on_change()

    async def _write(self) -> None:
        began = took = 0.0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            # At most half of the time is spent on it, however many sessions there are.
            if (pause := began + max(TICK_SECONDS, 2 * took) - monotonic()) > 0:
                await asyncio.sleep(pause)
            began = monotonic()
            async with self._sending:
                await self._flush()
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._delete_doomed()
            took = monotonic() - began

    async def _flush(self) -> None:
        if monotonic() > self._lease.until:  # another server may own the sessions by now
            await asyncio.sleep(RETRY_SECONDS)
            self._wanted.set()
            return
        changed = self._changed
        pipeline = self._client.pipeline(transaction=False)
        sent = []
        for tail in changed:
            before = len(pipeline)
            upto = tail.add_to(pipeline, self._key_of(tail.session_log.session.session_id))
            sent.append((tail, upto, len(pipeline) - before))
        self._changed = {}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                replies = iter(await pipeline.execute(raise_on_error=False) if len(pipeline) else ())
        except BaseException:
            self._changed = changed | self._changed  # all of them are passed by
            raise
        refused = []
        for tail, upto, count in sent:
            self.entries += count > 0
            for reply in [next(replies) for _ in range(count)]:
                if _is_refusal(reply):
                    refused.append(tail)
                elif isinstance(reply, Exception):
                    self._changed = changed | self._changed
                    raise reply
            tail.session_log.show_upto(upto)
        if sent and self._failures:
            log.info("Redis answers again")
            self._failures = 0
        if refused:
            await self._begin_anew(refused)

    async def _begin_anew(self, refused: Iterable[SessionTail]) -> None:
        """The tail has higher numbers: of a deleted session with that id, or of a server that took us for dead."""
        if monotonic() > self._lease.until:
            return
        logs = [tail.session_log for tail in refused if not tail.session_log.is_released]
        keys = [self._key_of(session_log.session.session_id) for session_log in logs]
        if not keys:
            return
        log.info("the tails of %d sessions begin anew", len(keys))
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._client.delete(*keys)


def _is_refusal(reply: Any) -> bool:
    """Whether the tail has an entry with this number, or a higher one, already."""
    return isinstance(reply, ResponseError) and "equal or smaller" in str(reply)


def _ignore() -> None:
    """Nobody wants to know."""
