"""The durable copy behind the tail: text of open turns in batches, replay of what the tail forgot, retention."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import orjson
from sqlalchemy import Connection

from app.domain.event import EventKind
from app.events.log import SessionLog
from app.events.run import Run, fact_wire, text_wire, wire_of
from app.events.tape import Segment, unescape
from app.llm.base import escape
from app.storage import events as rows
from app.storage import messages, sessions, turns
from app.storage.database import Database
from app.storage.unit_of_work import UnitOfWork, WriteConflict, WriteFailed

log = logging.getLogger(__name__)

SWEEP_SECONDS = 0.2
"""Every open turn is written at least this often: together with one commit less than 250 ms."""
SLICES = 4
REPLAY_ROWS = 256


class Journal:
    """Writes the text of open turns behind the readers' backs. One per database."""

    def __init__(self, database: Database, *, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._open: dict[str, SessionLog] = {}
        self._slice = 0

    def follow(self, session_log: SessionLog) -> None:
        """A turn has begun: its text is to be written from now on."""
        self._open[session_log.session.session_id] = session_log

    def unfollow(self, session_log: SessionLog) -> None:
        self._open.pop(session_log.session.session_id, None)

    async def run(self) -> None:
        """Sweep until cancelled: a slice of the open turns at a time, so that no tick is heavy."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS / SLICES)
            self._slice = (self._slice + 1) % SLICES
            for place, session_log in enumerate(list(self._open.values())):
                if place % SLICES == self._slice:
                    self.write(session_log)

    def write(self, session_log: SessionLog) -> None:
        """Hand the text that is not written yet to the writer; does not wait."""
        tape = session_log.tape
        if tape is None or session_log.over is not None:
            return
        for segment in tape.segments():
            if segment.journaled < len(segment.lengths):
                self._write_segment(session_log, tape.turn_id, segment)

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
        self._database.submit(unit).add_done_callback(lambda future: _put_back(future, segment, start))

    async def replay(self, session_id: str, *, after: int, upto: int, from_start: bool = False) -> list[Run]:
        """What is kept of `after` < number ≤ `upto`, oldest first; a bounded piece of it.

        Where events are older than their retention there is one snapshot for each answer instead
        (`from_start`: nothing, the reader asked only for what is kept). Empty when nothing is left.

        Raises:
            Unavailable: the database did not answer.
        """
        return await self._database.read(
            lambda connection: _replay(connection, session_id, after=after, upto=upto, from_start=from_start)
        )

    async def expire(self, *, retention_ms: int) -> None:
        """Forget events and idempotency keys older than their time. Bounded; call it again for more."""
        unit = UnitOfWork("")
        now = self._clock_ms()

        def sweep(connection: Connection) -> None:
            rows.expire(connection, before_ms=now - retention_ms, limit=200)
            turns.forget_keys(connection, before_ms=now - 24 * 3600 * 1000)

        unit.call = sweep
        try:
            await self._database.submit(unit)
        except (WriteFailed, WriteConflict) as error:
            log.warning("events could not be expired: %s", error)


def _put_back(future: asyncio.Future[None], segment: Segment, start: int) -> None:
    """A batch that was not written is tried again with the next sweep."""
    if not future.cancelled() and isinstance(future.exception(), WriteFailed):
        segment.journaled = min(segment.journaled, start)


def _replay(connection: Connection, session_id: str, *, after: int, upto: int, from_start: bool) -> list[Run]:
    session = sessions.find(connection, session_id)
    if session is None:
        return []
    if after < session.floor_seq:
        if from_start:
            after = session.floor_seq
        elif snapshots := _snapshots(connection, session_id, after=after, floor=session.floor_seq):
            return snapshots
        else:
            after = session.floor_seq
    facts = rows.facts_after(connection, session_id, after=after, upto=upto, limit=REPLAY_ROWS)
    texts = rows.runs_after(connection, session_id, after=after, upto=upto, limit=REPLAY_ROWS)
    # A list that hit its limit says nothing about what lies beyond its last row.
    horizon = upto
    if len(facts) == REPLAY_ROWS:
        horizon = min(horizon, facts[-1].seq)
    if len(texts) == REPLAY_ROWS:
        horizon = min(horizon, texts[-1].last)
    found = [_fact(fact) for fact in facts if fact.seq <= horizon]
    found += [_text(text, after=after, upto=horizon) for text in texts if text.first <= horizon]
    found.sort(key=lambda run: run.first)
    return found


def _snapshots(connection: Connection, session_id: str, *, after: int, floor: int) -> list[Run]:
    lost = messages.answers(connection, session_id, after=after, upto=floor, limit=REPLAY_ROWS)
    return [
        Run(
            message.seq,
            message.seq,
            EventKind.SNAPSHOT,
            fact_wire(
                message.seq,
                EventKind.SNAPSHOT,
                orjson.dumps(
                    {"turn_id": message.turn_id, "message_id": message.message_id, "text": message.content}
                ),
            ),
            turn_id=message.turn_id,
            at_ms=message.created_ms,
        )
        for message in lost
    ]


def _fact(fact: rows.StoredFact) -> Run:
    kind = EventKind(fact.kind)
    wire = fact_wire(fact.seq, kind, fact.fields.encode())
    return Run(fact.seq, fact.seq, kind, wire, turn_id=fact.turn_id, at_ms=fact.created_ms)


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
    wire = text_wire(first, chunks) if kind is EventKind.TEXT else wire_of(kind, first, chunks)
    return Run(first, last, kind, wire, turn_id=stored.turn_id, at_ms=stored.created_ms)
