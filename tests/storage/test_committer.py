"""One batch, tried once: committed, refused, lost or in doubt; and what a lost connection leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from app.storage import tables
from app.storage.engine.committer import Committer, Done, InDoubt, Lost, Refused
from app.storage.engine.database import Database
from app.storage.engine.fence import Superseded, make_fence
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from tests.fixtures.line import Fate, Line
from tests.fixtures.postgres import cut_connections

_t = tables.settings
PUT = insert(_t)


def put(name: str) -> UnitOfWork:
    unit = UnitOfWork(name)
    unit.add(PUT, {"name": name, "value": b""})
    return unit


def stored(url: str) -> set[str]:
    engine = Database(url).engine
    with engine.connect() as connection:
        names = set(connection.execute(select(_t.c.name).where(_t.c.name != "writer")).scalars())
    engine.dispose()
    return names


def make_committer(engine: Engine) -> Committer:
    fence = make_fence(engine)
    if fence is not None:
        fence.take(engine)
    return Committer(engine, fence)


@pytest.fixture
def line(postgres_url: str) -> Iterator[Line]:
    with Line(postgres_url) as line:
        yield line


@pytest.fixture
def committer(line: Line) -> Iterator[Committer]:
    """On Postgres, by a line that can be cut."""
    engine = Database(line.url).engine
    committer = make_committer(engine)
    yield committer
    committer.close()
    engine.dispose()


@pytest.fixture
def on_file(tmp_path: Path) -> Iterator[Committer]:
    engine = Database(f"sqlite:///{tmp_path}/hector.db").engine
    tables.metadata.create_all(engine)
    committer = make_committer(engine)
    yield committer
    committer.close()
    engine.dispose()


def test_a_refused_batch_leaves_nothing_and_the_next_is_committed(postgres_url: str, committer: Committer) -> None:
    assert committer.commit([put("a")]) == Done()
    refused = committer.commit([put("b"), put("a")])
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, WriteConflict)
    assert committer.commit([put("c")]) == Done()
    assert stored(postgres_url) == {"a", "c"}


def test_a_connection_that_dies_before_the_commit_is_lost_and_suspected(
    postgres_url: str, committer: Committer
) -> None:
    assert committer.commit([put("a")]) == Done()
    cut_connections(postgres_url)
    lost = committer.commit([put("b")])
    assert isinstance(lost, Lost)
    assert lost.died
    assert committer.commit([put("b")]) == Done()
    assert stored(postgres_url) == {"a", "b"}


def test_a_database_that_is_not_there_is_lost_and_nothing_is_suspected(line: Line, committer: Committer) -> None:
    line.go_down()
    lost = committer.commit([put("a")])
    assert isinstance(lost, Lost)
    assert not lost.died
    assert isinstance(lost.error, WriteFailed)


@pytest.mark.parametrize(("fate", "happened"), [("answer is lost", True), ("is lost", False)])
def test_a_commit_in_doubt_is_resolved_without_writing(
    postgres_url: str, line: Line, committer: Committer, fate: Fate, happened: bool
) -> None:
    line.cut_at(b"COMMIT", fate, stays_down=True)
    in_doubt = committer.commit([put("a")])
    assert isinstance(in_doubt, InDoubt)
    assert in_doubt.died
    still = committer.resolve()
    assert isinstance(still, InDoubt)
    assert not still.died
    line.is_down = False
    assert isinstance(committer.resolve(), Done if happened else Lost)
    assert committer.commit([put("b")]) == Done()
    assert stored(postgres_url) == ({"a", "b"} if happened else {"b"})


@pytest.mark.parametrize("fate", ["answer is lost", "is lost"])
def test_a_batch_in_doubt_that_is_tried_again_is_written_once(
    postgres_url: str, line: Line, committer: Committer, fate: Fate
) -> None:
    line.cut_at(b"COMMIT", fate)
    assert isinstance(committer.commit([put("a")]), InDoubt)
    assert committer.commit([put("a")]) == Done()
    assert stored(postgres_url) == {"a"}


def test_a_commit_in_doubt_of_a_server_that_was_followed_is_refused(
    postgres_url: str, line: Line, committer: Committer
) -> None:
    line.cut_at(b"COMMIT", "is lost")
    assert isinstance(committer.commit([put("a")]), InDoubt)
    engine = Database(postgres_url).engine
    follower = make_committer(engine)
    refused = committer.resolve()
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, Superseded)
    assert follower.commit([put("a")]) == Done()
    follower.close()
    engine.dispose()


def test_without_a_fence_a_lost_connection_is_a_refusal(on_file: Committer) -> None:
    def lose(connection: object) -> None:
        connection.connection.driver_connection.close()  # type: ignore[attr-defined]

    refused = on_file.commit([UnitOfWork("a", calls=[lose]), put("b")])
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, WriteFailed)
    assert on_file.commit([put("b")]) == Done()


def test_work_outside_transactions_gives_its_result_or_an_error_for_callers(on_file: Committer) -> None:
    assert on_file.run(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()) == 1
    with pytest.raises(WriteFailed, match="nonsense"):
        on_file.run(lambda connection: connection.exec_driver_sql("nonsense"))
    assert on_file.commit([put("a")]) == Done()
