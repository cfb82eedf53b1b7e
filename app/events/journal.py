"""The stored events: writes text of open turns in batches, replays what memory no longer has, applies retention."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from time import monotonic

from app.domain.event import EventKind, Snapshot
from app.domain.message import Message
from app.events.log import SessionLog
from app.events.run import Run, fact_run
from app.events.tape import Segment
from app.llm.base import escape, unescape
from app.storage import events as rows
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.2
"""Text of every open turn is written at least this often; with the commit it is stored within 250 ms."""
SLICES = 2
REPLAY_ROWS = 256
KEY_MS = 24 * 3600 * 1000
"""How long an idempotency key is stored."""


class Journal:
    """Writes the text of open turns after readers have seen it. One per database."""

    def __init__(self, database: Database, *, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._slices: list[dict[str, SessionLog]] = [{} for _ in range(SLICES)]
        self._swept = [monotonic()] * SLICES

    def follow(self, session_log: SessionLog) -> None:
        """Start writing the text of a session's open turn."""
        smallest = min(self._slices, key=len)
        smallest[session_log.session.session_id] = session_log

    def unfollow(self, session_log: SessionLog) -> None:
        for part in self._slices:
            part.pop(session_log.session.session_id, None)

    async def run(self) -> None:
        """Write until cancelled, a slice of the open turns at a time, so that no loop tick takes long."""
        while True:
            for place, part in enumerate(self._slices):
                await asyncio.sleep(SWEEP_SECONDS / SLICES)
                for session_log in part.values():
                    self.write(session_log)
                self._swept[place] = monotonic()

    def lag(self) -> float:
        """Seconds since text of open turns was last submitted; 0 when no turn is open."""
        if not any(self._slices):
            return 0.0
        return monotonic() - min(self._swept)

    def write(self, session_log: SessionLog) -> None:
        """Submit the text that is not written yet; does not wait."""
        tape = session_log.tape
        if tape is None or session_log.over is not None:
            return
        for segment in tape.segments():
            if segment.journaled < len(segment.lengths) and not segment.is_being_written:
                self._write_segment(session_log, tape.turn_id, segment)

    def write_facts(self, session_log: SessionLog) -> None:
        """Submit the facts that readers were shown before they are stored, for readers at another server."""
        tape = session_log.tape
        for run in tape.unstored_facts() if tape is not None and session_log.over is None else ():
            unit = UnitOfWork(session_log.session.session_id)
            rows.add_fact(
                unit,
                seq=run.first,
                kind=run.kind.value,
                turn_id=run.turn_id,
                fact=run.payload,
                created_ms=run.at_ms,
                once=True,
            )
            self._database.submit(unit).add_done_callback(partial(_note_stored, run))

    def _write_segment(self, session_log: SessionLog, turn_id: str, segment: Segment) -> None:
        start, stop = segment.journaled, len(segment.lengths)
        chunks = segment.chunks(start)
        unit = UnitOfWork(session_log.session.session_id)
        rows.add_run(
            unit,
            first=segment.first + start,
            last=segment.last,
            turn_id=turn_id,
            kind=segment.kind.value,
            lengths=segment.character_lengths(start),
            content=unescape(b"".join(chunks)),
            created_ms=self._clock_ms(),
            while_open=True,
        )
        segment.journaled = stop
        segment.is_being_written = True  # one at a time: if it fails, its text must not overlap a later one's
        self._database.submit(unit).add_done_callback(lambda future: _written(future, segment, start))

    async def replay(self, session_id: str, *, after: int, upto: int, from_start: bool = False) -> list[Run]:
        """Stored events with `after` < number ≤ `upto`, oldest first, a bounded number at a time.

        Where events were deleted there is one snapshot for each answer instead (with `from_start` nothing: the reader
        asked for stored events only). Empty when no events are left.

        Raises:
            Unavailable: the database did not answer.
        """
        page = await self._database.read(
            lambda connection: rows.page(
                connection, session_id, after=after, upto=upto, limit=REPLAY_ROWS, snapshots=not from_start
            )
        )
        return as_runs(page, after=after, upto=upto)

    async def expire(self, *, retention_ms: int) -> None:
        """Delete events and idempotency keys that are too old, a bounded number; call it again for more."""
        now = self._clock_ms()
        try:
            await self._database.submit(
                rows.make_expiry(events_before_ms=now - retention_ms, keys_before_ms=now - KEY_MS, limit=200)
            )
        except (WriteFailed, WriteConflict) as error:
            log.warning("events could not be expired: %s", error)


def _note_stored(run: Run, future: asyncio.Future[None]) -> None:
    if not future.cancelled() and future.exception() is None:
        run.is_stored = True


def _written(future: asyncio.Future[None], segment: Segment, start: int) -> None:
    """After a failed write, mark the text as unwritten, so that the next sweep writes it again."""
    segment.is_being_written = False
    error = None if future.cancelled() else future.exception()
    if isinstance(error, WriteFailed):
        segment.journaled = start
    elif error is None:
        segment.stored = max(segment.stored, segment.journaled)


def as_runs(page: rows.Page, *, after: int, upto: int) -> list[Run]:
    """The stored events of a page with `after` < number ≤ `upto`, oldest first."""
    if page.answers:
        return [_snapshot(message) for message in page.answers]
    after = max(after, page.floor)
    found = [_fact(fact) for fact in page.facts]
    found += [_text(text, after=after, upto=min(upto, page.horizon)) for text in page.texts]
    found.sort(key=lambda run: run.first)
    return found


def _snapshot(message: Message) -> Run:
    snapshot = Snapshot(message.turn_id, message.message_id, message.content)
    return fact_run(message.seq, snapshot, at_ms=message.created_ms)


def _fact(fact: rows.StoredFact) -> Run:
    kind, payload = EventKind(fact.kind), fact.fact.encode()
    return Run(fact.seq, fact.seq, kind, payload=payload, turn_id=fact.turn_id, at_ms=fact.created_ms)


def _text(stored: rows.StoredRun, *, after: int, upto: int) -> Run:
    kind = EventKind(stored.kind)
    chunks, place, number, first = [], 0, stored.first, 0
    for length in stored.lengths:
        if after < number <= upto:
            first = first or number
            chunks.append(escape(stored.text[place : place + length]))
        place += length
        number += 1
    last = first + len(chunks) - 1
    return Run(first, last, kind, chunks=chunks, turn_id=stored.turn_id, at_ms=stored.created_ms)
