"""Copies of a SQLite database, taken while the server works on it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from app.domain.errors import Unavailable
from app.storage.engine import private_files
from app.storage.engine.file_lock import lock_file


def back_up(database: Path, target: Path) -> int:
    """Write a consistent copy of `database` to `target` (which must not exist); its size in bytes.

    SQLite's online backup in one step: under WAL it does not block writers. In several steps every commit between
    two of them would restart the copy, and under load it would hardly end (40 MB: 5 s and 394 steps against 0.1 s).

    Raises:
        Unavailable: there is no database, the target exists, or the copy failed. No partial file is left.
    """
    if not database.exists():
        raise Unavailable(f"There is no database at {database}.")
    if os.path.lexists(target):
        raise _exists(target)
    try:
        with private_files.folder_beside(target) as folder:
            fresh = folder / target.name
            _copy(database, fresh)
            private_files.place(fresh, target)
    except FileExistsError:
        raise _exists(target) from None
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"The backup failed: {error}") from error
    return target.stat().st_size


def restore(source: Path, database: Path) -> None:
    """Replace `database` by a backup; the old files are kept beside it as `….before-restore`.

    Raises:
        Unavailable: a server is using the database, or `source` is no sound backup.
    """
    _check(source)
    try:
        private_files.make_folder(database.parent)
        with _alone(database), private_files.folder_beside(database) as folder:
            fresh = folder / database.name
            _copy(source, fresh)
            for suffix in ("", "-wal", "-shm"):
                old = database.with_name(database.name + suffix)
                if old.exists():
                    os.replace(old, old.with_name(old.name + ".before-restore"))
            os.replace(fresh, database)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"The restore failed: {error}") from error


def _exists(target: Path) -> Unavailable:
    return Unavailable(f"{target} exists already; name another file.")


@contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Hold the lock that a server takes, so that none uses the database or starts on it."""
    with open(private_files.open_own(lock_file(database)), "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"A server is at work on {database}; stop it first.") from None
        yield


def _copy(source: Path, target: Path) -> None:
    private_files.create(target)
    with closing(_read_only(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy, pages=-1)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def _check(source: Path) -> None:
    try:
        with closing(_read_only(source)) as backup:
            sound = backup.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            known = backup.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sessions'").fetchone()[0]
    except sqlite3.Error as error:
        raise Unavailable(f"{source} is not a database: {error}") from error
    if not sound or not known:
        raise Unavailable(f"{source} is not a sound backup of Hector's data.")
