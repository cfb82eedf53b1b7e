"""The differences between SQLite and Postgres, one named function each; the rest of this room is the same for both.

The driver of Postgres is psycopg 3, synchronous: the same statements run in the same threads as on SQLite, a whole
batch in one hand-over, without greenlets or a second way of writing SQL.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from app.domain.errors import Unavailable
from app.storage.engine import private_files

NO_DRIVER = "PostgreSQL needs its driver: pip install 'hector[postgres]'"

# A dead network is noticed after about 20 s on both sides; over a UNIX socket none of this matters.
_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "hector",
}
# The timeouts and keepalives free the locks of a connection whose client is gone, so that the next one gets them.
_SESSION = (
    "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '30s'; "
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3"
)
BUSY_MS = 5000
"""How long SQLite waits for a lock of another connection."""
BUSY_PAUSE_SECONDS = 0.01
MIGRATION_BUSY_MS = 60_000
"""How long a migration waits for another one."""
_NAME_BYTES = 63
_NO_RIGHT = "42501"
_READ_ONLY = "25006"  # this server has become a standby: the address will lead to the new primary in a moment


def is_postgres(url: str) -> bool:
    return url.startswith("postgres")


def make_engine(url: str, replica_id: str | None = None) -> Engine:
    """An engine without a pool: each `connect` opens a connection, and every thread keeps its own.

    `replica_id`: whose connections these are, where several servers share the database.

    Raises:
        Unavailable: the driver is not installed.
    """
    if is_postgres(url):
        return _postgres(make_url(url), replica_id)
    engine = create_engine(url, connect_args={"check_same_thread": False}, poolclass=NullPool)
    event.listen(engine, "connect", _set_pragmas)
    return engine


def application_name(replica_id: str | None) -> str:
    """What a server's connections are called at the database."""
    return "hector" if replica_id is None else f"hector {replica_id}"[:_NAME_BYTES]


def _postgres(url: URL, replica_id: str | None) -> Engine:
    arguments = {name: value for name, value in _CONNECT.items() if name not in url.query}
    if replica_id is not None:  # the others end these connections by their name, if they take it for dead
        arguments["application_name"] = application_name(replica_id)
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=arguments,
            poolclass=NullPool,
            use_native_hstore=False,  # saves a query at the first connection, for a type that is not used
        )
    except ImportError as error:
        raise Unavailable(NO_DRIVER) from error
    event.listen(engine, "connect", _set_up_session)
    return engine


def _set_up_session(connection: Any, _record: object) -> None:
    import psycopg
    from psycopg.types.numeric import Int8Dumper

    try:
        connection.autocommit = True  # a rollback would undo settings made in a transaction
        connection.execute(_SESSION)
        connection.autocommit = False
    except psycopg.Error as error:
        connection.close()
        raise OperationalError(_SESSION, {}, error) from error
    # One width for every number: otherwise each combination of widths becomes a prepared statement of its own.
    connection.adapters.register_dumper(int, Int8Dumper)


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    _switch_to_wal(cursor)
    # FULL costs nothing that can be measured under group commit, and survives a power cut.
    cursor.execute("PRAGMA synchronous = FULL")
    # What is deleted is overwritten with zeros. Costs nothing that can be measured in a commit.
    cursor.execute("PRAGMA secure_delete = ON")
    # Only the database in memory shares its cache; there a reader would otherwise collide with the writer.
    cursor.execute("PRAGMA read_uncommitted = 1")
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Wait for the lock that the switch needs: SQLite refuses at once, whatever `busy_timeout` says.

    It does so while another connection writes to a file that is not in WAL mode yet, or switches it itself.
    """
    give_up = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                raise
            time.sleep(BUSY_PAUSE_SECONDS)
        else:
            return


def exists(url: str) -> bool:
    """Whether there is a SQLite file; of a Postgres database the server tells."""
    return is_postgres(url) or Path(str(make_url(url).database)).is_file()


def make_place(url: str) -> None:
    """Create a SQLite file and its folder for their owner only; a Postgres database is created by its owner."""
    name = None if is_postgres(url) else make_url(url).database
    if name:
        path = Path(name)
        private_files.make_folder(path.parent)
        private_files.create(path)
        for suffix in ("", "-wal", "-shm", "-journal"):
            private_files.close_to_others(path.with_name(path.name + suffix))


def begin_migration(connection: Connection) -> None:
    """From here to the end of the transaction no other process migrates, and a failure leaves nothing behind."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {MIGRATION_BUSY_MS}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # its driver begins no transaction for a CREATE
        return
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # an index over years of messages takes its time
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('hector migration'))")


def is_connection_lost(error: BaseException) -> bool:
    """Whether a new connection may succeed where this one failed; never on SQLite, which has no connection to lose."""
    if not isinstance(error, DBAPIError) or type(error.orig).__module__.startswith("sqlite3"):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) == _READ_ONLY


def is_data_refused(error: BaseException) -> bool:
    """Whether the database, its driver or our own code refuses the values of a statement: a retry would not help."""
    if not isinstance(error, DBAPIError):
        return not isinstance(error, OSError | MemoryError)
    if type(error.orig).__module__.startswith("sqlite3"):
        # For a type that it does not know the class depends on the Python version; a closed connection has one of them.
        return isinstance(error, DataError | InterfaceError) or "binding parameter" in str(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the driver itself
        return isinstance(error, DataError | ProgrammingError)
    return state != _NO_RIGHT and state[:2] in ("22", "42")  # a value out of range; a value of another type
