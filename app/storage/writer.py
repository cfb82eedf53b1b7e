"""The one writer of a process: a thread that commits whatever units of work have gathered, together.

32 turns in one transaction cost a fraction of 32 transactions (benchmarks), so every write goes
through here. A unit that fails never takes its neighbours or the thread with it: the batch is rolled
back and redone unit by unit, and every caller gets an answer.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from queue import SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.exc import IntegrityError

from app.storage.unit_of_work import UnitOfWork, WriteConflict, WriteFailed

log = logging.getLogger(__name__)

MAX_BATCH = 256

Work = tuple[UnitOfWork, "asyncio.Future[None]"]


class Writer:
    """Owns the writing connection and its thread. Made and used on one event loop."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop
        self._gathered: list[Work] = []
        self._queue: SimpleQueue[list[Work] | None] = SimpleQueue()
        self._closed = False
        self.submitted = 0
        self.batches = 0
        self.units = 0
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
        connection: Connection | None = None
        ending = False
        while not ending:
            item = self._queue.get()
            work: list[Work] = []
            while True:
                if item is None:
                    ending = True
                    break
                work += item
                if self._queue.empty() or len(work) >= MAX_BATCH:
                    break
                item = self._queue.get()
            if work:
                connection = self._write(connection, work)
        if connection is not None:
            connection.close()

    def _write(self, connection: Connection | None, work: list[Work]) -> Connection | None:
        units = [unit for unit, _ in work]
        results: list[Exception | None] = [None] * len(units)
        try:
            if connection is None:
                connection = self._engine.connect()
            for layer in _layers(units):
                _execute(connection, layer)
            connection.commit()
        except Exception:  # the edge of the thread: every caller gets an answer of its own
            log.debug("a batch could not be written together", exc_info=True)
            connection, results = self._write_one_by_one(_undo(connection), units)
        self.batches += 1
        self.units += len(work)
        self._loop.call_soon_threadsafe(_answer, work, results)
        return connection

    def _write_one_by_one(
        self, connection: Connection | None, units: list[UnitOfWork]
    ) -> tuple[Connection | None, list[Exception | None]]:
        results: list[Exception | None] = []
        for unit in units:
            if connection is None:
                try:
                    connection = self._engine.connect()
                except Exception as error:
                    unreachable = WriteFailed(_reason(error))
                    return None, results + [unreachable] * (len(units) - len(results))
            try:
                _execute(connection, [unit])
                connection.commit()
                results.append(None)
            except Exception as error:
                results.append(_refusal(error))
                connection = _undo(connection)
        return connection, results


def _answer(work: list[Work], results: list[Exception | None]) -> None:
    for (_, future), error in zip(work, results, strict=True):
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # a caller that went away leaves no "never retrieved" behind


def _layers(units: list[UnitOfWork]) -> list[list[UnitOfWork]]:
    """Split a batch so that no layer holds two units of one session: inside a layer order does not matter."""
    layers: list[list[UnitOfWork]] = []
    depth: dict[str, int] = {}
    for unit in units:
        level = depth.get(unit.session_id, 0)
        depth[unit.session_id] = level + 1
        if level == len(layers):
            layers.append([])
        layers[level].append(unit)
    return layers


def _execute(connection: Connection, layer: list[UnitOfWork]) -> None:
    """Run the units' statements, equal shapes side by side as one `executemany` a statement."""
    shapes: dict[tuple[int, ...], list[UnitOfWork]] = {}
    for unit in layer:
        shapes.setdefault(tuple([id(statement) for statement, _, _ in unit.steps]), []).append(unit)
    for alike in shapes.values():
        for place, (statement, _, _) in enumerate(alike[0].steps):
            rows = [unit.steps[place][1] for unit in alike]
            expected = [unit.steps[place][2] for unit in alike]
            _execute_many(connection, statement, rows, expected)
        for unit in alike:
            for call in unit.calls:
                call(connection)


def _execute_many(
    connection: Connection, statement: Executable, rows: list[dict[str, Any]], expected: list[int | None]
) -> None:
    result = connection.execute(statement, rows if len(rows) > 1 else rows[0])
    wanted = [count for count in expected if count is not None]
    if wanted and (len(wanted) != len(rows) or result.rowcount != sum(wanted)):
        raise WriteConflict("a condition of the unit did not hold")


def _undo(connection: Connection | None) -> Connection | None:
    """Roll back; a connection that cannot even do that is given up."""
    if connection is None:
        return None
    try:
        connection.rollback()
    except Exception:
        log.debug("a broken connection is given up", exc_info=True)
    else:
        return connection
    try:
        connection.invalidate()
        connection.close()
    except Exception:
        log.debug("a broken connection could not be closed", exc_info=True)
    return None


def _refusal(error: Exception) -> Exception:
    if isinstance(error, WriteConflict):
        return error
    if isinstance(error, IntegrityError):
        return WriteConflict(str(error.orig))
    return WriteFailed(_reason(error))


def _reason(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {original}"
