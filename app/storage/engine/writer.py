"""The one writer of a process: a thread that commits whatever units of work have gathered, together.

32 turns in one transaction cost a fraction of 32 transactions (benchmarks), so every write goes
through here. A unit that fails never takes its neighbours or the thread with it: the batch is rolled
back and redone unit by unit, and every caller gets an answer.

A connection that dies (Postgres only) is replaced, and the batch written again: callers wait. When the database
stays away longer than `patience_seconds` they are told so, and those who come later at once. Only a batch whose
COMMIT went unanswered waits until the fence can tell what became of it: a guess could be a lie.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from app.storage.engine.batch import execute, layers
from app.storage.engine.dialect import is_connection_lost
from app.storage.engine.fence import Fence, Superseded
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed

log = logging.getLogger(__name__)

MAX_BATCH = 256
PATIENCE_SECONDS = 5.0
"""How long callers wait for a database that went away."""
MAX_LOSSES = 3
"""A batch under which so many connections died is suspected of killing them."""
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5)

Work = tuple[UnitOfWork, "asyncio.Future[None]"]


class _Unreachable(Exception):
    """No connection could be made."""


@dataclass(slots=True, eq=False)
class _Batch:
    """What is to become true in one transaction."""

    work: list[Work]
    losses: int = 0
    is_unknown: bool = False
    """Its COMMIT was sent and never answered."""


@dataclass(slots=True, eq=False)
class _Alone:
    """Work that no transaction may be open for."""

    work: Callable[[Connection], Any]
    answer: asyncio.Future[Any]


class Writer:
    """Owns the writing connection and its thread. Made and used on one event loop."""

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        *,
        fence: Fence | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`fence`: taken already. Without one a lost connection is not made up for."""
        self._engine = engine
        self._loop = loop
        self._fence = fence
        self._patience_seconds = patience_seconds
        self._gathered: list[Work] = []
        self._queue: SimpleQueue[list[Work] | _Alone | None] = SimpleQueue()
        self._closed = False
        self.submitted = 0
        self.batches = 0
        self.units = 0
        self.is_failing = False
        """Whether the last batch could not be written: the disk is full, the database gone."""
        self._connection: Connection | None = None
        self._down_since: float | None = None
        self._unsettled: _Batch | None = None
        self._thread = threading.Thread(target=self._run, name="hector-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: UnitOfWork) -> asyncio.Future[None]:
        """Hand over a unit; the future is done when it is committed.

        Units are committed in the order of submission. Units of one loop tick travel together.

        Raises (through the future): WriteConflict, WriteFailed.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self._closed:
            future.set_exception(WriteFailed("the writer is closed"))
            return future
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append((unit, future))
        self.submitted += 1
        return future

    def alone(self, work: Callable[[Connection], Any]) -> asyncio.Future[Any]:
        """Run `work` on the writing connection between two batches, outside any transaction; its result.

        For what the database does to its own files. What was submitted before is committed before.

        Raises (through the future): WriteFailed.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            answer.set_exception(WriteFailed("the writer is closed"))
            return answer
        self._hand_over()
        self._queue.put(_Alone(work, answer))
        return answer

    @property
    def waiting(self) -> int:
        """Units that were submitted and not written yet."""
        return self.submitted - self.units

    async def close(self) -> None:
        """Commit what was submitted, then end the thread."""
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)  # let the last results, posted by the thread, reach their callers

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        ending = False
        while not ending:
            work, alone, ending = self._gather()
            if self._unsettled is not None:
                self._settle(self._unsettled)
            if work:
                self._write(work)
            if alone is not None:
                self._run_alone(alone)
        if self._unsettled is not None:
            self._answer(self._unsettled, WriteFailed("the server stops and the database is not back"))
        if self._connection is not None:
            self._connection.close()

    def _gather(self) -> tuple[list[Work], _Alone | None, bool]:
        """What was submitted, what is to run alone after it, and whether it is the last."""
        work: list[Work] = []
        try:
            # Whoever waits for an answer that only the database knows does not wait for another's message.
            item = self._queue.get(timeout=None if self._unsettled is None else _PAUSES[-1])
            while item is not None:
                if isinstance(item, _Alone):
                    return work, item, False
                work += item
                if self._queue.empty() or len(work) >= MAX_BATCH:
                    return work, None, False
                item = self._queue.get()
        except Empty:
            return work, None, False
        return work, None, True

    def _run_alone(self, alone: _Alone) -> None:
        result, failure = None, None
        try:
            connection = self._connected()
            result = alone.work(connection)
            connection.commit()
        except Exception as error:  # the edge of the thread, as in _write
            log.debug("work outside transactions failed", exc_info=True)
            failure = _refusal(error)
            self._undo()
        self._loop.call_soon_threadsafe(_answer_alone, alone.answer, result, failure)

    def _write(self, work: list[Work]) -> None:
        self.batches += 1
        batches = deque([_Batch(work)])
        while batches:
            batch = batches.popleft()
            if self._unsettled is not None:
                self._answer(batch, WriteFailed("the database is away"))
                continue
            try:
                self._commit(batch)
            except Exception as error:  # the edge of the thread: every caller gets an answer of its own
                log.debug("a batch could not be written together", exc_info=True)
                if self._is_worth_waiting_for(error, batch):
                    self._drop_connection()
                    if self._may_try_again(batch):
                        batches.appendleft(batch)
                        continue
                    if batch.is_unknown:
                        self._unsettled = batch
                        continue
                else:
                    self._undo()
                if len(batch.work) > 1 and not self._is_down_for_long():
                    batches.extendleft([_Batch([one]) for one in reversed(batch.work)])
                else:
                    refusal = _refusal(error)
                    self.is_failing = self.is_failing or isinstance(refusal, WriteFailed)
                    self._answer(batch, refusal)
            else:
                self._is_back()
                self._answer(batch, None)

    def _commit(self, batch: _Batch) -> None:
        connection = self._connected()
        fence = self._fence
        if batch.is_unknown and self._has_happened(connection, batch):
            return
        try:
            if fence is not None:
                fence.move(connection)
            for layer in layers([unit for unit, _ in batch.work]):
                execute(connection, layer)
        except Exception as error:
            batch.losses += is_connection_lost(error)
            raise
        try:
            connection.commit()
        except Exception as error:
            # What fails with the connection intact was refused. What fails with it may have happened.
            batch.is_unknown = fence is not None and is_connection_lost(error)
            batch.losses += batch.is_unknown
            raise
        if fence is not None:
            fence.moved()

    def _has_happened(self, connection: Connection, batch: _Batch) -> bool:
        """Ask the fence about a COMMIT that went unanswered; it is no secret any more afterwards."""
        assert self._fence is not None
        happened = self._fence.has_moved(connection)
        connection.rollback()
        batch.is_unknown = False
        if happened:
            self._fence.moved()
        return happened

    def _settle(self, batch: _Batch) -> None:
        """Try to learn what became of a batch whose callers have waited long."""
        try:
            happened = self._has_happened(self._connected(), batch)
        except Superseded as error:
            self._answer(batch, error)
        except Exception:
            log.debug("what became of a batch is not known yet", exc_info=True)
            self._drop_connection()
            return
        else:
            self._answer(batch, None if happened else WriteFailed("the database was away for too long"))
        self._unsettled = None
        self._is_back()

    def _is_worth_waiting_for(self, error: Exception, batch: _Batch) -> bool:
        """Whether a new connection may succeed, or at least tell more."""
        if self._fence is None or isinstance(error, Superseded):
            return False
        return batch.is_unknown or isinstance(error, _Unreachable) or is_connection_lost(error)

    def _may_try_again(self, batch: _Batch) -> bool:
        """After the connection was lost: wait a moment, unless it has been long enough."""
        if self._down_since is None:
            self._down_since = time.monotonic()
            log.warning("the connection to the database was lost; trying again")
        if self._is_down_for_long() or (batch.losses >= MAX_LOSSES and not batch.is_unknown):
            return False
        away = time.monotonic() - self._down_since
        time.sleep(next((pause for pause in _PAUSES if pause >= away), _PAUSES[-1]))
        return True

    def _is_back(self) -> None:
        self.is_failing = False
        if self._down_since is not None:
            log.warning("the database is back after %.1f s", time.monotonic() - self._down_since)
            self._down_since = None

    def _is_down_for_long(self) -> bool:
        return self._down_since is not None and time.monotonic() - self._down_since > self._patience_seconds

    def _connected(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = self._engine.connect()
            except Exception as error:
                raise _Unreachable(_reason(error)) from error
        return self._connection

    def _undo(self) -> None:
        """Roll back; a connection that cannot even do that is given up."""
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except Exception:
            log.debug("a broken connection is given up", exc_info=True)
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.invalidate()
            connection.close()
        except Exception:
            log.debug("a broken connection could not be closed", exc_info=True)

    def _answer(self, batch: _Batch, error: Exception | None) -> None:
        self.units += len(batch.work)
        self._loop.call_soon_threadsafe(_answer, batch.work, error)


def _answer(work: list[Work], error: Exception | None) -> None:
    for _, future in work:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # a caller that went away leaves no "never retrieved" behind


def _answer_alone(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
        answer.exception()


def _refusal(error: Exception) -> Exception:
    if isinstance(error, WriteConflict | Superseded):
        return error
    if isinstance(error, _Unreachable):
        return WriteFailed(str(error))
    if isinstance(error, IntegrityError):
        return WriteConflict(str(error.orig))
    return WriteFailed(_reason(error))


def _reason(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {original}"
