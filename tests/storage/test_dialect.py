"""What differs between the two databases, and what is said when Postgres has no driver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import bindparam, update

from app.config.server import without_password
from app.storage import tables
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork
from tests.fixtures.rows import a_session, store_session

NO_DRIVER = """
import sys
sys.modules["psycopg"] = None
from app.domain.errors import Unavailable
from app.storage.engine.lock import make_lock
try:
    make_lock("postgresql://u:hidden@h/d")
except Unavailable as error:
    print(error)
"""


def test_a_missing_driver_is_said_in_one_sentence() -> None:
    said = subprocess.run(
        [sys.executable, "-c", NO_DRIVER], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert said.stdout == "PostgreSQL needs its driver: pip install 'hector[postgres]'\n"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hidden@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d?user=u&password=hidden", "postgresql://h/d?user=u&password=***"),
        ("postgresql://u:hidden@h/d?PassWord=hidden&a=b", "postgresql://u:***@h/d?PassWord=***&a=b"),
        ("postgresql:///d?pass%77ord=hidden", "postgresql:///d?pass%77ord=***"),
        ("postgresql:///d?sslkey=k&sslpassword=hidden", "postgresql:///d?sslkey=k&sslpassword=***"),
        ("sqlite:////var/a.db", "sqlite:////var/a.db"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


async def test_the_rows_that_many_statements_in_one_changed_are_counted(database: Database) -> None:
    """The conditions of units rest on this sum: of 50 sessions, 20 are not there."""
    for number in range(30):
        await store_session(database, a_session(f"s{number}"))
    rename = (
        update(tables.sessions)
        .where(tables.sessions.c.session_id == bindparam("the_session"))
        .values(title=bindparam("new_title"))
    )
    rows = [{"the_session": f"s{number}", "new_title": "t" * number} for number in range(50)]
    counted: list[int] = []
    await database.submit(
        UnitOfWork("", calls=[lambda connection: counted.append(connection.execute(rename, rows).rowcount)])
    )
    assert counted == [30]
