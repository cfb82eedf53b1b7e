"""Connections of the wire are cut, the database restarts: a command is carried out once, or its sender is told."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from app.domain.errors import Unavailable
from tests.cluster.replicas import OpenReplica, Replica
from tests.fixtures.eventually import eventually
from tests.fixtures.line import Fate, Line
from tests.fixtures.postgres import Databases, PostgresServer, cut_connections, run

FATES: list[Fate] = ["answer is lost", "is lost", "arrives late"]


async def until_taken(replica: Replica, *said: str) -> None:
    async def has() -> bool:
        return replica.carried_out == list(said)

    await eventually(has)


async def test_wires_that_are_cut_are_there_again(a: Replica, b: Replica, postgres_url: str) -> None:
    for number in range(3):
        assert cut_connections(postgres_url, named="hector wire") == 2
        assert await a.wire.call("b", "note", "s1", b"%d" % number, seconds=10) == b"%d" % number
    assert b.carried_out == ["s1 0", "s1 1", "s1 2"]

    async def are_told() -> bool:
        return a.reconnects > 0 and b.reconnects > 0

    await eventually(are_told)


async def test_an_answer_that_was_given_while_the_senders_wire_was_cut_is_found(
    a: Replica, b: Replica, postgres_url: str
) -> None:
    slow = asyncio.ensure_future(a.wire.call("b", "wait", "s1", b"slow", seconds=30))
    await until_taken(b, "s1 slow")
    cut_connections(postgres_url, named="hector wire")
    b.may_go_on.set()
    assert await slow == b"slow"


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("word", [b"INSERT INTO commands", b"SELECT id, answer", b"DELETE FROM commands"])
async def test_a_cut_under_the_senders_statement_loses_nothing(
    fate: Fate, word: bytes, line: Line, open_replica: OpenReplica, b: Replica
) -> None:
    a = await open_replica("a", url=line.url)
    line.cut_at(word, fate)
    assert await a.wire.call("b", "note", "s1", b"x", seconds=20) == b"x"
    assert await a.wire.call("b", "note", "s1", b"y", seconds=20) == b"y"
    assert b.carried_out == ["s1 x", "s1 y"]
    assert line.cuts == 1


@pytest.mark.parametrize("fate", FATES)
async def test_a_cut_under_the_targets_answer_loses_nothing(
    fate: Fate, line: Line, open_replica: OpenReplica, a: Replica
) -> None:
    b = await open_replica("b", url=line.url)
    line.cut_at(b"SET answered_ms", fate)
    assert await a.wire.call("b", "note", "s1", b"x", seconds=20) == b"x"
    assert b.carried_out == ["s1 x"]
    assert line.cuts == 1


@pytest.mark.parametrize("fate", FATES)
async def test_a_cut_while_a_command_is_taken_is_told_or_not_noticed(
    fate: Fate, line: Line, open_replica: OpenReplica, a: Replica, postgres_url: str
) -> None:
    b = await open_replica("b", url=line.url)
    await a.wire.call("b", "note", "s1", b"first", seconds=20)
    line.cut_at(b"SET taken_ms", fate)
    (outcome,) = await asyncio.gather(a.wire.call("b", "note", "s1", b"x", seconds=20), return_exceptions=True)
    if fate != "answer is lost":
        assert (outcome, b.carried_out) == (b"x", ["s1 first", "s1 x"])
    else:
        assert isinstance(outcome, Unavailable)
        assert (outcome.message.startswith("The connection to the database was lost"), b.carried_out) == (
            True,
            ["s1 first"],
        )


async def test_a_call_while_the_database_is_away_ends_with_its_time_and_is_not_made_later(
    line: Line, open_replica: OpenReplica, b: Replica, postgres_url: str
) -> None:
    a = await open_replica("a", url=line.url)
    line.go_down()
    with pytest.raises(Unavailable):
        await a.wire.call("b", "note", "s1", b"lost", seconds=0.3)
    line.is_down = False
    assert await a.wire.call("b", "note", "s1", b"x", seconds=20) == b"x"
    assert b.carried_out == ["s1 x"]


@pytest.mark.parametrize("how", ["restarts", "is killed"])
async def test_a_database_that_stops_between_command_and_answer(how: str, server: PostgresServer, url: str) -> None:
    a, b = Replica("a", url), Replica("b", url)
    await a.open()
    await b.open()
    slow = asyncio.ensure_future(a.wire.call("b", "wait", "s1", b"slow", seconds=30))
    await until_taken(b, "s1 slow")
    run(url, "CHECKPOINT")  # a kill takes back what was not on the disk
    await asyncio.to_thread(server.stop if how == "restarts" else server.kill)
    b.may_go_on.set()
    await asyncio.to_thread(server.start)
    assert await slow == b"slow"
    assert await a.wire.call("b", "note", "s1", b"x", seconds=20) == b"x"
    assert b.carried_out == ["s1 slow", "s1 x"]
    await a.close()
    await b.close()


async def test_a_database_that_is_killed_under_load_costs_time_and_nothing_else(
    server: PostgresServer, url: str
) -> None:
    replicas = [Replica(name, url) for name in "abc"]
    for replica in replicas:
        await replica.open()
    is_over = asyncio.Event()
    said: list[str] = []

    async def ask(number: int) -> None:
        sender, target = replicas[number % 3], replicas[(number + 1) % 3]
        for count in itertools.count():
            text = f"{number}-{count}"
            said.append(text)
            answer = await sender.wire.call(target.name, "note", f"s{number % 7}", text.encode(), seconds=40)
            assert answer == text.encode()
            if is_over.is_set():
                return

    asking = [asyncio.ensure_future(ask(number)) for number in range(30)]
    for _ in range(2):
        before = len(said)

        async def goes_on(before: int = before) -> bool:
            return len(said) > before + 200

        await eventually(goes_on, within=30)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    is_over.set()
    await asyncio.gather(*asking)
    carried_out = Counter(line.split(" ")[1] for replica in replicas for line in replica.carried_out)
    assert carried_out == Counter(said)
    assert len(set(said)) == len(said)
    for replica in replicas:
        await replica.close()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module's own: it is stopped here."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def here(server: PostgresServer) -> Databases:
    return Databases(server.url("postgres"))


@pytest.fixture
def url(here: Databases) -> str:
    return here.create()
