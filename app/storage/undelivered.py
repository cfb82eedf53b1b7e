"""Undelivered: what webhooks are not told of yet, as the operator sees it beside the running server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.domain.errors import Unavailable
from app.storage import outbox
from app.storage.engine import dialect, revision
from app.storage.engine.unit_of_work import UnitOfWork
from app.storage.outbox import Delivery

T = TypeVar("T")


def list_undelivered(url: str, *, failed_only: bool, limit: int) -> list[Delivery]:
    """The oldest first. Raises Unavailable: the database cannot be read, or is not of this release."""
    return _run(url, partial(outbox.list_page, failed_only=failed_only, limit=limit))


def redeliver(url: str, *, now_ms: int) -> int:
    """Have everything that was given up tried again, by the server when it looks next; returns how many events.

    Raises Unavailable: the database cannot be written, or is not of this release.
    """

    def retry(connection: Connection) -> int:
        failed = outbox.failed_ids(connection)
        unit = UnitOfWork("")
        for delivery_id in failed:
            outbox.add_again(unit, delivery_id, now_ms=now_ms)
        for statement, values, _ in unit.steps:
            connection.execute(statement, values)
        return len(failed)

    return _run(url, retry)


def _run(url: str, work: Callable[[Connection], T]) -> T:
    """In a transaction of its own, beside those of the server's writer."""
    if not dialect.exists(url):
        raise Unavailable("There is no database yet: no server has run on this configuration.")
    engine = dialect.make_engine(url)
    try:
        if not revision.is_current(engine):
            raise Unavailable("The database schema is not this release's; run `hector migrate`.")
        with engine.begin() as connection:
            return work(connection)
    except (DBAPIError, OSError) as error:
        raise Unavailable(f"The database does not answer: {getattr(error, 'orig', None) or error}") from error
    finally:
        engine.dispose()
