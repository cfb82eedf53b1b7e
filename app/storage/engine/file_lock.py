"""One server on a SQLite file: an OS lock on a file beside it, which names the process and its address."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from app.domain.errors import Unavailable, data_in_use
from app.storage.engine import private_files

_ONE_SERVER = "SQLite serves one server at a time: stop that one first, or give this one a database of its own."


class FileLock:
    """Held while a server runs; the operating system frees it however the process ends."""

    def __init__(self, database: Path) -> None:
        self.path = lock_file(database)
        self.on_taken: Callable[[], None] | None = None
        self._file: IO[str] | None = None

    @property
    def is_held(self) -> bool:
        """Once taken it cannot be lost."""
        return self._file is not None

    async def acquire(self, *, url: str, wait_seconds: float) -> None:
        """Take the lock; wait for another server that is shutting down.

        Raises:
            Unavailable: another server still holds it after `wait_seconds`, or its folder cannot be written.
        """
        try:
            private_files.make_folder(self.path.parent)
            self._file = open(private_files.open_own(self.path), "a+", encoding="utf-8")  # noqa: SIM115, ASYNC230 - held for the life of the server; once
            await self._wait_for(self._file, time.monotonic() + wait_seconds)
            self._name_holder(self._file, url)
        except OSError as error:
            self.release()
            raise self._unwritable(error) from None
        except BaseException:
            if self._file is not None:
                self._file.close()
                self._file = None
            raise

    def _name_holder(self, file: IO[str], url: str) -> None:
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "pids": pid_space(), "url": url}))
        file.flush()

    def _unwritable(self, error: OSError) -> Unavailable:
        reason = (error.strerror or "unknown reason").lower()
        if error.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR):
            return Unavailable(f"The lock file {self.path} cannot be used: {reason}; remove what has its name.")
        return Unavailable(
            f"The folder of the database, {self.path.parent}, cannot be written: {reason}. It must belong to the user "
            f"of the server, here {os.geteuid()}:{os.getegid()}, and have space left.",
        )

    async def _wait_for(self, file: IO[str], give_up: float) -> None:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= give_up:
                    raise self._refusal() from None
                await asyncio.sleep(0.05)
            else:
                return

    def _refusal(self) -> Unavailable:
        return data_in_use(
            holder_of(self.path),
            "SQLite serves one server at a time: stop that one first, or use a database of its own.",
        )

    def release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def holder_of(path: Path) -> dict[str, object] | None:
    """The process that the lock file names, or `None`. It may be dead: only the lock itself counts."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def pid_space() -> str:
    """Where a process id of this process means something: its namespace (a container has its own), else the machine."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return socket.gethostname()


def lock_file(database: Path) -> Path:
    """The lock file beside a SQLite database."""
    return database.with_name(database.name + ".lock")


def is_held(path: Path) -> bool:
    """Whether a living process holds this lock. The process that the file names may be dead."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
