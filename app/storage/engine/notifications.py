"""LISTEN: a connection to Postgres that waits for notifications, and runs short statements, in a thread of its own.

A notification may get lost with the connection. Whoever relies on one looks for itself after a reconnect.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from typing import Any, Protocol

from sqlalchemy import Connection, text

from app.storage.engine import dialect

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
_CLOSE_SECONDS = 2.0


def channel_of(replica: str) -> str:
    """The SQL for the channel of a replica; `replica` is the SQL for its id.

    Per schema: the replicas of two schemas of one database are two services.
    """
    schema = "to_hex(hashtext(coalesce(current_schema(), '')))"
    return f"'hector_' || {schema} || '_' || to_hex(hashtextextended({replica}, 0))"


# What goes over these connections is worth nothing after a crash of Postgres, so no COMMIT waits for the disk.
_SET_UP = text("SELECT set_config('application_name', :name, false), set_config('synchronous_commit', 'off', false)")
_CHANNEL = text(f"SELECT {channel_of('CAST(:replica AS text)')}")


class Listening(Protocol):
    """What a `Listener` calls, in its thread. An exception is logged, and after a reconnect `connected` is called."""

    def connected(self, connection: Connection, *, is_first: bool) -> None:
        """From now on notifications arrive: look for what was missed."""

    def notified(self, connection: Connection, payloads: list[str]) -> None:
        """These notifications arrived."""

    def woken(self, connection: Connection) -> None:
        """Somebody called `Listener.wake` since the last time."""


class Listener:
    """Listens on the channel of one replica, from `start` to `close`."""

    def __init__(self, url: str, *, replica_id: str, listening: Listening) -> None:
        self._engine = dialect.make_engine(url)
        self._replica_id = replica_id
        self._listening = listening
        self._connection: Connection | None = None
        self._stopped = threading.Event()
        self._is_woken = False
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="hector-wire", daemon=True)

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Have `woken` called soon. Cheap when that is about to happen anyway. From any thread."""
        if not self._is_woken:
            self._is_woken = True
            self._ring()

    def close(self) -> None:
        """Call `woken` a last time if it is due, then end. Blocks for at most 2 s."""
        self._stopped.set()
        self._ring()
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_SECONDS)  # it may be blocked on a dead network: then it ends with the process
        if not self._thread.is_alive():
            self._bell.close()
            self._ringer.close()
        self._engine.dispose()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # the bell rings already, or is put away
            self._ringer.send(b"!")

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        is_first = True
        while True:
            try:
                self._connect(is_first=is_first)
                is_first = False
                self._listen()
                break
            except Exception as error:
                self._note(error)
                self._disconnect()
                if self._stopped.wait(RETRY_SECONDS):
                    break
        self._disconnect()

    def _connect(self, *, is_first: bool) -> None:
        connection = open_connection(self._engine, "hector wire")
        try:
            channel = connection.execute(_CHANNEL, {"replica": self._replica_id}).scalar()
            connection.exec_driver_sql(f'LISTEN "{channel}"')
        except BaseException:
            drop(connection)
            raise
        self._connection = connection
        self._listening.connected(connection, is_first=is_first)
        self._is_woken = True  # what was being done when the connection was lost is due again
        if not is_first:
            log.warning("the wire to the other replicas is back")

    def _listen(self) -> None:
        """Returns at the end. Raises when the connection is lost."""
        assert self._connection is not None
        driver: Any = self._connection.connection.driver_connection
        with selectors.DefaultSelector() as selector:
            selector.register(driver.fileno(), selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while self._turn(driver, self._connection):
                selector.select()
                with contextlib.suppress(BlockingIOError):
                    self._bell.recv(4096)

    def _turn(self, driver: Any, connection: Connection) -> bool:
        """Do what is due; whether to wait for more. False: the end."""
        while True:
            if payloads := [found.payload for found in driver.notifies(timeout=0)]:
                self._listening.notified(connection, payloads)
            elif self._is_woken:
                self._is_woken = False  # before the call: what comes during it rings again
                self._listening.woken(connection)
            else:
                return not self._stopped.is_set()

    def _note(self, error: Exception) -> None:
        if self._connection is not None and not self._stopped.is_set():
            log.warning("the wire to the other replicas was lost; trying again: %s", getattr(error, "orig", error))
        else:
            log.debug("the wire to the other replicas cannot be opened yet", exc_info=error)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            drop(connection)


def open_connection(engine: Any, name: str) -> Connection:
    """A connection without transactions, whose COMMITs do not wait for the disk. `name`: as operators see it."""
    connection: Connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        connection.execute(_SET_UP, {"name": name})
    except BaseException:
        drop(connection)
        raise
    return connection


def drop(connection: Connection) -> None:
    """Close a connection that may be broken."""
    try:
        connection.invalidate()
        connection.close()
    except Exception:
        log.debug("a broken connection could not be closed", exc_info=True)
