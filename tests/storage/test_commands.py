"""Commands between replicas, as rows."""

from __future__ import annotations

from app.storage import commands
from app.storage.commands import Command
from app.storage.engine.dialect import make_engine
from tests.fixtures.postgres import run

LIVE = (
    "INSERT INTO replicas (id, name, address, started_ms, lease_until)"
    " VALUES ('b', 'b', '', 0, clock_timestamp() + interval '1 hour')"
)


def test_a_command_that_is_sent_twice_at_once_is_one_row(postgres_url: str) -> None:
    run(postgres_url, LIVE)
    once = Command("cmd_1", "b", "a", "note", "", b"x")
    engine = make_engine(postgres_url)
    try:
        with engine.begin() as connection:
            assert commands.put(connection, [once, once], now=1) == {"cmd_1"}
    finally:
        engine.dispose()
    assert run(postgres_url, "SELECT count(*) FROM commands") == [(1,)]
