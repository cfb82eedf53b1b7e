"""Committer: tries one batch of units in one transaction and says what became of it. Decides nothing about retries.

The error of an outcome is a WriteConflict or a WriteFailed, ready for the callers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from app.storage.engine.batch import execute, split_into_layers
from app.storage.engine.dialect import is_connection_lost, is_data_refused
from app.storage.engine.fence import Fence, Superseded
from app.storage.engine.unit_of_work import UnitOfWork, Unwritable, WriteConflict, WriteFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """The batch is committed."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The transaction was rolled back; the same batch would be refused again."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """No connection could be made, or it died before COMMIT was sent. Nothing was written; a retry may succeed."""

    error: Exception
    died: bool
    """Whether the connection died under the batch, which is then suspected of killing it."""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """COMMIT was sent and never answered. Only the fence can tell, on a new connection, whether it happened."""

    error: Exception
    died: bool
    """As in `Lost`; false when only the question about an earlier COMMIT failed."""


Outcome: TypeAlias = Done | Refused | Lost | InDoubt


class _Unreachable(Exception):
    """No connection could be made."""


class Committer:
    """Owns the writing connection. Used by the writer's thread only."""

    def __init__(self, engine: Engine, fence: Fence | None) -> None:
        """`fence`: taken already. Without one a lost connection is a refusal: nothing could tell what happened."""
        self._engine = engine
        self._fence = fence
        self._connection: Connection | None = None
        self._is_in_doubt = False

    def commit(self, units: list[UnitOfWork]) -> Outcome:
        """Write the units in one transaction.

        After `InDoubt` the next call must bring the same units: they are written again only if that COMMIT did not
        happen.
        """
        try:
            connection = self._connected()
            if self._is_in_doubt and self._has_happened(connection):
                return Done()
        except Exception as error:
            return self._fail(error, died=False)
        try:
            if self._fence is not None:
                self._fence.move(connection)
            for layer in split_into_layers(units):
                execute(connection, layer)
        except Exception as error:
            return self._fail(error, died=is_connection_lost(error))
        try:
            connection.commit()
        except Exception as error:
            # If the connection is intact, the database refused. If it died, the COMMIT may have happened.
            self._is_in_doubt = self._fence is not None and is_connection_lost(error)
            return self._fail(error, died=self._is_in_doubt)
        if self._fence is not None:
            self._fence.moved()
        return Done()

    def resolve(self) -> Outcome:
        """After `InDoubt`: ask once what became of the COMMIT, without writing. `Lost`: it did not happen."""
        try:
            happened = self._has_happened(self._connected())
        except Exception as error:
            return self._fail(error, died=False)
        return Done() if happened else Lost(WriteFailed("the database was away for too long"), died=False)

    def run(self, work: Callable[[Connection], Any]) -> Any:
        """Run `work` outside any transaction; its result.

        Raises:
            WriteConflict, WriteFailed: as its error says; the connection can be used again.
        """
        try:
            connection = self._connected()
            result = work(connection)
            connection.commit()
        except Exception as error:  # the edge of the thread: every caller gets an answer
            log.debug("work outside transactions failed", exc_info=True)
            self._roll_back()
            raise _for_callers(error) from error
        return result

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _fail(self, error: Exception, *, died: bool) -> Outcome:
        log.debug("a batch could not be committed", exc_info=error)
        if isinstance(error, Superseded):
            self._is_in_doubt = False
        may_come_back = self._is_in_doubt or isinstance(error, _Unreachable) or is_connection_lost(error)
        if self._fence is None or isinstance(error, Superseded) or not may_come_back:
            self._roll_back()
            return Refused(_for_callers(error))
        self._drop_connection()
        return (InDoubt if self._is_in_doubt else Lost)(_for_callers(error), died)

    def _has_happened(self, connection: Connection) -> bool:
        """Ask the fence about the COMMIT in doubt; afterwards none is. Raises Superseded."""
        assert self._fence is not None
        happened = self._fence.has_moved(connection)
        connection.rollback()
        self._is_in_doubt = False
        if happened:
            self._fence.moved()
        return happened

    def _connected(self) -> Connection:
        if self._connection is None:
            try:
                self._connection = self._engine.connect()
            except Exception as error:
                raise _Unreachable(_reason(error)) from error
        return self._connection

    def _roll_back(self) -> None:
        """A connection that cannot even roll back is dropped."""
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except Exception:
            log.debug("a broken connection is dropped", exc_info=True)
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


def _for_callers(error: Exception) -> Exception:
    if isinstance(error, WriteConflict | Superseded):
        return error
    if isinstance(error, _Unreachable):
        return WriteFailed(str(error))
    if isinstance(error, IntegrityError):
        return WriteConflict(str(error.orig))
    return (Unwritable if is_data_refused(error) else WriteFailed)(_reason(error))


def _reason(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {original}"
