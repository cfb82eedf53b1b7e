"""The lock that keeps a database to one server: which kind a database has, and which server holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sqlalchemy.engine import make_url

from app.storage.engine.dialect import is_postgres
from app.storage.engine.file_lock import FileLock, holder_of, is_held, lock_file


class Lock(Protocol):
    """Held while a server works on its data."""

    on_taken: Callable[[], None] | None
    """Called on the event loop when another server has taken the lock that this one held."""

    @property
    def is_held(self) -> bool: ...

    async def acquire(self, *, url: str, wait_seconds: float) -> None: ...

    def release(self) -> None: ...


def make_lock(url: str, *, is_shared: bool = False) -> Lock:
    """The lock of the database at `url`; `is_shared`: held together with other servers of the same service.

    Raises:
        Unavailable: its driver is not installed.
    """
    if is_postgres(url):
        from app.storage.engine.advisory_lock import AdvisoryLock

        return AdvisoryLock(url, is_shared=is_shared)
    path = make_url(url).database
    assert path is not None
    return FileLock(Path(path))


def find_holders(url: str) -> list[dict[str, object]]:
    """The servers that hold the database at `url`, on Postgres with their `host`: several, if they share it.

    Raises:
        Unavailable: the database does not answer.
    """
    if is_postgres(url):
        from app.storage.engine import advisory_lock

        return advisory_lock.find_holders(url)
    path = make_url(url).database
    assert path is not None
    lock = lock_file(Path(path))
    return [holder_of(lock) or {}] if is_held(lock) else []
