"""The one writer of a process: a thread that commits the units of work that have gathered, together.

32 turns in one transaction cost a fraction of 32 transactions (benchmarks), so every write goes
through here. A unit that fails never takes its neighbours or the thread with it: the batch is rolled
back and redone unit by unit, and every caller gets an answer.

A connection that dies (Postgres only) is replaced, and the batch written again: callers wait. When the database
stays away longer than `patience_seconds`, their units fail, and later units fail at once. Only a batch whose COMMIT is
in doubt waits until the fence can tell what became of it: an answer before that could be wrong.
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
from typing import Any, assert_never

from sqlalchemy import Connection, Engine

from app.storage.engine.committer import Committer, Done, InDoubt, Lost, Outcome, Refused
from app.storage.engine.fence import Fence
from app.storage.engine.unit_of_work import UnitOfWork, Unwritable, WriteConflict, WriteFailed

log = logging.getLogger(__name__)

MAX_BATCH = 256
PATIENCE_SECONDS = 5.0
"""How long callers wait for a database that went away."""
MAX_LOSSES = 3
"""A batch under which so many connections died is suspected of killing them, and split."""
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5)

Work = tuple[UnitOfWork, "asyncio.Future[None]"]


@dataclass(slots=True, eq=False)
class _Alone:
    """Work that must run outside any transaction."""

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
        """`fence`: taken already. Without one a batch is not written again after its connection was lost."""
        self._loop = loop
        self._committer = Committer(engine, fence)
        self._patience_seconds = patience_seconds
        self._gathered: list[Work] = []
        self._queue: SimpleQueue[list[Work] | _Alone | None] = SimpleQueue()
        self._closed = False
        self.submitted = 0
        self.batches = 0
        self.units = 0
        self.is_failing = False
        """Whether the last batch could not be written: the disk is full, the database gone."""
        self._down_since: float | None = None
        self._next_commit: asyncio.Future[None] | None = None
        self._in_doubt: list[Work] | None = None
        """The batch whose COMMIT is in doubt, after its callers have waited `patience_seconds`."""
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

    def next_commit(self) -> asyncio.Future[None]:
        """Done when the next batch is committed: what could not be written before may be written then.

        Shared: wait for it with `asyncio.wait`, which does not cancel it.
        """
        if self._next_commit is None:
            self._next_commit = self._loop.create_future()
        return self._next_commit

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
            if self._in_doubt is not None:
                self._resolve(self._in_doubt)
            if work:
                self._write(work)
            if alone is not None:
                self._run_alone(alone)
        if self._in_doubt is not None:
            self._answer(self._in_doubt, WriteFailed("the server stops and the database is not back"))
        self._committer.close()

    def _gather(self) -> tuple[list[Work], _Alone | None, bool]:
        """What was submitted, what is to run alone after it, and whether it is the last."""
        work: list[Work] = []
        try:
            # While a COMMIT is in doubt, poll with a timeout instead of blocking until the next unit arrives.
            item = self._queue.get(timeout=None if self._in_doubt is None else _PAUSES[-1])
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
            result = self._committer.run(alone.work)
        except (WriteConflict, WriteFailed) as error:
            failure = error
        self._loop.call_soon_threadsafe(_answer_alone, alone.answer, result, failure)

    def _write(self, work: list[Work]) -> None:
        self.batches += 1
        batches = deque([work])
        while batches:
            batch = batches.popleft()
            if self._in_doubt is not None:
                self._answer(batch, WriteFailed("the database is away"))
                continue
            outcome = self._commit(batch)
            match outcome:
                case Done():
                    self._note_success()
                    self._answer(batch, None)
                case InDoubt():
                    self._in_doubt = batch
                case Refused(error) | Lost(error):
                    if len(batch) > 1 and not self._is_down_for_long():
                        batches.extendleft([[one] for one in reversed(batch)])
                    else:
                        is_ours = isinstance(error, WriteConflict | Unwritable)
                        self.is_failing = self.is_failing or not is_ours
                        self._answer(batch, error)
                case _:
                    assert_never(outcome)

    def _commit(self, batch: list[Work]) -> Outcome:
        """Try until the database has answered or `patience_seconds` are over."""
        units = [unit for unit, _ in batch]
        losses = 0
        while True:
            outcome = self._committer.commit(units)
            if isinstance(outcome, Done | Refused):
                return outcome
            losses += outcome.died
            self._note_loss()
            if self._is_down_for_long() or (losses >= MAX_LOSSES and isinstance(outcome, Lost)):
                return outcome
            self._pause()

    def _resolve(self, batch: list[Work]) -> None:
        """Try to learn what became of a batch in doubt, and answer its callers."""
        outcome = self._committer.resolve()
        match outcome:
            case InDoubt():
                return
            case Done():
                self._answer(batch, None)
            case Refused(error) | Lost(error):
                self._answer(batch, error)
            case _:
                assert_never(outcome)
        self._in_doubt = None
        self._note_success()

    def _note_loss(self) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            log.warning("the connection to the database was lost; trying again")

    def _note_success(self) -> None:
        self.is_failing = False
        if self._down_since is not None:
            log.warning("the database is back after %.1f s", time.monotonic() - self._down_since)
            self._down_since = None

    def _is_down_for_long(self) -> bool:
        return self._down_since is not None and time.monotonic() - self._down_since > self._patience_seconds

    def _pause(self) -> None:
        """The longer the database is away, the longer."""
        away = time.monotonic() - (self._down_since or 0)
        time.sleep(next((pause for pause in _PAUSES if pause >= away), _PAUSES[-1]))

    def _answer(self, batch: list[Work], error: Exception | None) -> None:
        self.units += len(batch)
        self._loop.call_soon_threadsafe(self._tell, batch, error)

    # -- on the loop again ----------------------------------------------------------------------

    def _tell(self, work: list[Work], error: Exception | None) -> None:
        for _, future in work:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # a caller that went away leaves no "never retrieved" behind
        if error is None and self._next_commit is not None:
            self._next_commit.set_result(None)
            self._next_commit = None


def _answer_alone(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
        answer.exception()
