"""One server on its data: an OS lock whose file names the process and its address; on Postgres, `advisory_lock`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy.engine import make_url

from app.domain.errors import Unavailable
from app.storage.dialect import is_postgres


class Lock(Protocol):
    """Held while a server works on its data."""

    on_taken: Callable[[], None] | None
    """Called on the event loop when another server holds the data that was ours."""

    @property
    def is_held(self) -> bool: ...

    async def acquire(self, *, url: str, wait_seconds: float) -> None: ...

    def release(self) -> None: ...


def make_lock(url: str) -> Lock:
    """The lock of the database at `url`. Raises Unavailable: its driver is not installed."""
    if is_postgres(url):
        from app.storage.advisory_lock import AdvisoryLock

        return AdvisoryLock(url)
    path = make_url(url).database
    assert path is not None
    return DataLock(Path(path))


class DataLock:
    """Held while a server runs; the operating system frees it however the process ends."""

    def __init__(self, database: Path) -> None:
        self.path = lock_file(database)
        self.on_taken: Callable[[], None] | None = None
        self._file: IO[str] | None = None

    @property
    def is_held(self) -> bool:
        """It cannot be lost."""
        return self._file is not None

    async def acquire(self, *, url: str, wait_seconds: float) -> None:
        """Take the lock, waiting for a predecessor that is shutting down.

        Raises:
            Unavailable: another server holds it still after `wait_seconds`.
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
                    raise Unavailable(self._refusal()) from None
                await asyncio.sleep(0.05)
            else:
                return

    def _refusal(self) -> str:
        return refusal(holder_of(self.path), "SQLite serves one process; use Postgres and Redis for several.")

    def release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()
            self._file = None


def holder_of(path: Path) -> dict[str, object] | None:
    """Who the lock file names, or `None`. The name may be that of a dead process: only the lock itself counts."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def find_holder(url: str) -> dict[str, object] | None:
    """Who works on the database at `url`; `None`: nobody. On Postgres with its `host`. Raises Unavailable."""
    if is_postgres(url):
        from app.storage import advisory_lock

        return advisory_lock.find_holder(url)
    path = make_url(url).database
    assert path is not None
    lock = lock_file(Path(path))
    return holder_of(lock) or {} if is_held(lock) else None


def lock_file(database: Path) -> Path:
    """The lock file beside a SQLite database."""
    return database.with_name(database.name + ".lock")


def is_held(path: Path) -> bool:
    """Whether a living process holds this lock. What the file says may be a dead one's."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def refusal(holder: dict[str, object] | None, advice: str) -> str:
    """What the second server says, whatever the database."""
    holder = holder or {}
    return (
        f"Another server (process {holder.get('pid', '?')}, {holder.get('url', '?')}) is at work on this data: {advice}"
    )
