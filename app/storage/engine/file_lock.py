"""One server on a SQLite file: an OS lock on a file beside it, which names the process and its address."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from app.domain.errors import Unavailable, data_in_use


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
            Unavailable: another server still holds it after `wait_seconds`.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115, ASYNC230 - held for the life of the server; once
        try:
            await self._wait_for(self._file, time.monotonic() + wait_seconds)
        except BaseException:
            self._file.close()
            self._file = None
            raise
        self._file.truncate(0)
        self._file.write(json.dumps({"pid": os.getpid(), "url": url}))
        self._file.flush()

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
        return data_in_use(holder_of(self.path), "SQLite serves one process; use Postgres and Redis for several.")

    def release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()
            self._file = None


def holder_of(path: Path) -> dict[str, object] | None:
    """The process that the lock file names, or `None`. It may be dead: only the lock itself counts."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


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
