"""Which lock belongs to a database, and who holds it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import make_url

from app.storage.dialect import is_postgres
from app.storage.file_lock import FileLock, holder_of, is_held, lock_file
from app.storage.lock import Lock


def make_lock(url: str) -> Lock:
    """The lock of the database at `url`. Raises Unavailable: its driver is not installed."""
    if is_postgres(url):
        from app.storage.advisory_lock import AdvisoryLock

        return AdvisoryLock(url)
    path = make_url(url).database
    assert path is not None
    return FileLock(Path(path))


def find_holder(url: str) -> dict[str, object] | None:
    """Who works on the database at `url`; `None`: nobody. On Postgres with its `host`. Raises Unavailable."""
    if is_postgres(url):
        from app.storage import advisory_lock

        return advisory_lock.find_holder(url)
    path = make_url(url).database
    assert path is not None
    lock = lock_file(Path(path))
    return holder_of(lock) or {} if is_held(lock) else None
