"""One server on a Postgres database: an advisory lock on a connection of its own, watched by a thread of its own.

Several servers that are one service hold it together (`is_shared`): beside them no server works that believes itself
alone.

The connection may die while the server lives. Then the server is not ready, and takes the lock again as soon as it
can. Turns go on in the meantime: the fence (`engine/fence.py`) keeps a second server from writing, whatever the locks
say. If another server takes the lock first, `on_taken` is called: the only safe thing left is to stop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.config.server import without_password
from app.domain.errors import Unavailable, data_in_use
from app.storage.engine import dialect

log = logging.getLogger(__name__)

PING_SECONDS = 2.0
RETRY_SECONDS = 0.2

# Per schema: two servers in two schemas of one database have different data.
_KEY = "hashtext('hector'), hashtext(coalesce(current_schema(), ''))"
_TRY = text(f"SELECT pg_try_advisory_lock({_KEY})")
_TRY_SHARED = text(f"SELECT pg_try_advisory_lock_shared({_KEY})")
_NAME = text("SELECT set_config('application_name', :name, false), pg_backend_pid()")
_HOLDER = text(
    "SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND l.classid = hashtext('hector')::bigint & 4294967295 "
    "AND l.objid = hashtext(coalesce(current_schema(), ''))::bigint & 4294967295"
)
_END = text("SELECT pg_terminate_backend(:pid)")
_HOLDER_NAME = re.compile(r"hector (\d+) (\S+)(?: (\S+))?")
_NAME_BYTES = 63


class AdvisoryLock:
    """Held while a server runs. Postgres frees it when the connection ends, or about 20 s after the server vanished."""

    def __init__(self, url: str, *, is_shared: bool = False, ping_seconds: float = PING_SECONDS) -> None:
        self._try = _TRY_SHARED if is_shared else _TRY
        self._advice = (
            "it works alone: stop it, or set cluster.enabled to true on both."
            if is_shared
            else "one server works on a database at a time: stop that one first, or set cluster.enabled on all of them."
        )
        self._ping_seconds = ping_seconds
        self.on_taken: Callable[[], None] | None = None
        self.is_held = False
        self._url = url
        self._engine = dialect.make_engine(url)
        self._name = ""
        self._connection: Connection | None = None
        self._backend = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    async def acquire(self, *, url: str, wait_seconds: float) -> None:
        """Take the lock; wait for another server that is shutting down.

        Raises:
            Unavailable: the database does not answer, or another server still holds the lock after `wait_seconds`.
        """
        self._name = f"hector {os.getpid()} {url} {socket.gethostname()}"[:_NAME_BYTES]
        give_up = time.monotonic() + wait_seconds
        while not await self._try_once():
            if time.monotonic() >= give_up:
                holder = await asyncio.to_thread(self._name_holder)
                await asyncio.to_thread(self._close)
                raise data_in_use(holder, self._advice)
            await asyncio.sleep(RETRY_SECONDS)
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._watch, args=(loop,), name="hector-lock", daemon=True)
        self._thread.start()

    async def _try_once(self) -> bool:
        try:
            return await asyncio.to_thread(self._take)
        except DBAPIError as error:
            await asyncio.to_thread(self._close)
            name = without_password(self._url)
            raise Unavailable(f"The database {name} cannot be opened: {error.orig}") from error
        except BaseException:
            await asyncio.to_thread(self._close)
            raise

    def release(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(1)  # it may be blocked on a dead network: then it ends with the process
        self._close()

    def _take(self) -> bool:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._backend = self._connection.execute(_NAME, {"name": self._name}).one()[1]
        self.is_held = bool(self._connection.execute(self._try).scalar())
        return self.is_held

    def _find_holder(self) -> tuple[int, str | None] | None:
        assert self._connection is not None
        return _holder(self._connection)

    def _name_holder(self) -> dict[str, object] | None:
        try:
            return _named(self._find_holder())
        except DBAPIError:
            return None

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        self.is_held = False
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except Exception:
                log.debug("the connection of the lock could not be closed", exc_info=True)

    # -- the thread -----------------------------------------------------------------------------

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopped.wait(self._ping_seconds):
            try:
                assert self._connection is not None
                self._connection.exec_driver_sql("SELECT 1")
            except Exception as error:
                if self._stopped.is_set():
                    return
                log.warning("the lock on the database was lost; taking it again: %s", getattr(error, "orig", error))
                if not self._take_again():
                    if not self._stopped.is_set() and self.on_taken is not None:
                        loop.call_soon_threadsafe(self.on_taken)
                    return
                log.warning("the lock on the database is ours again")

    def _take_again(self) -> bool:
        """Returns False when another server holds it, or at shutdown."""
        lost_backend = self._backend
        self._close()
        while not self._stopped.is_set():
            try:
                if self._take():
                    return True
                holder = self._find_holder()
                if holder == (lost_backend, self._name):
                    # Our own connection: Postgres does not know yet that it is dead. Ending it frees the lock.
                    assert self._connection is not None
                    self._connection.execute(_END, {"pid": lost_backend})
                elif holder is not None:
                    return False
            except Exception:
                log.debug("the lock could not be taken yet", exc_info=True)
                self._close()
            self._stopped.wait(RETRY_SECONDS)
        return False


def find_holders(url: str) -> list[dict[str, object]]:
    """The servers that hold the database at `url`: `pid`, `url` and `host` of each, where visible.

    Raises:
        Unavailable: the database does not answer.
    """
    engine = dialect.make_engine(url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(_HOLDER).all()
    except DBAPIError as error:
        raise Unavailable(f"The database {without_password(url)} cannot be opened: {error.orig}") from error
    finally:
        engine.dispose()
    return [_named((row.pid, row.application_name)) or {} for row in rows]


def _holder(connection: Connection) -> tuple[int, str | None] | None:
    """Backend pid and name of the connection that holds the lock; the name of another role's connection is hidden."""
    row = connection.execute(_HOLDER).first()
    return None if row is None else (row.pid, row.application_name)


def _named(holder: tuple[int, str | None] | None) -> dict[str, object] | None:
    found = _HOLDER_NAME.match(holder[1] or "") if holder is not None else None
    return {"pid": int(found[1]), "url": found[2], "host": found[3] or "?"} if found is not None else None
