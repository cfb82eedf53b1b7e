"""Hints between replicas: gathered, sent together, the last of a key, to those only whom they concern."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from app.storage.engine.announcer import PAYLOAD_BYTES, join_lines, split_lines
from tests.cluster.replicas import OpenReplica, Replica
from tests.fixtures.eventually import eventually
from tests.fixtures.line import Line
from tests.fixtures.postgres import cut_connections


async def until(replica: Replica, hints: dict[str, str]) -> None:
    async def are_there() -> bool:
        return replica.hints == hints

    await eventually(are_there)


async def test_of_2000_hints_every_last_value_arrives_with_few_notifications(
    a: Replica, b: Replica, open_replica: OpenReplica
) -> None:
    c = await open_replica("c")
    for number in range(2000):
        a.wire.hint(["b", "c"] if number % 2 else ["b"], f"s{number % 300} {number}")
    last = {f"s{number % 300}": str(number) for number in range(1700, 2000)}
    await until(b, last)
    await until(c, {key: value for key, value in last.items() if int(value) % 2})
    assert a.wire._announcer.notified <= 6
    assert a.hints == {}


async def test_hints_over_time_are_sent_at_most_every_15_ms(a: Replica, b: Replica) -> None:
    began = asyncio.get_running_loop().time()
    for number in range(100):
        a.wire.hint(["b"], f"s1 {number}")
        await asyncio.sleep(0.001)
    await until(b, {"s1": "99"})
    seconds = asyncio.get_running_loop().time() - began
    assert a.wire._announcer.notified <= seconds / 0.015 + 1


async def test_hints_that_could_not_be_sent_are_sent_when_the_database_is_back(
    a: Replica, b: Replica, postgres_url: str
) -> None:
    a.wire.hint(["b"], "s1 1")
    await until(b, {"s1": "1"})
    assert cut_connections(postgres_url, named="hector hints") == 1
    a.wire.hint(["b"], "s1 2")
    a.wire.hint(["b"], "s2 1")
    await until(b, {"s1": "2", "s2": "1"})


async def test_who_may_have_missed_hints_is_told_so(a: Replica, open_replica: OpenReplica, line: Line) -> None:
    b = await open_replica("b", url=line.url)
    line.cut()

    async def is_told() -> bool:
        return b.reconnects == 1

    await eventually(is_told)
    a.wire.hint(["b"], "s1 1")
    await until(b, {"s1": "1"})


@pytest.mark.parametrize("payload", ["", "s1", "s1 a\nb", "s1 " + "x" * 1_000])
async def test_a_hint_of_another_form_is_refused(payload: str, a: Replica) -> None:
    with pytest.raises(ValueError, match="key value"):
        a.wire.hint(["b"], payload)


def test_a_payload_is_never_larger_than_the_database_takes() -> None:
    pending = {(f"r{number % 3}", f"ключ-{number}"): "x" * (number % 900) for number in range(500)}
    payloads = join_lines(pending)
    assert max(len(payload.encode()) for _, payload in payloads) <= PAYLOAD_BYTES
    assert Counter(replica for replica, _ in payloads).keys() == {"r0", "r1", "r2"}
    found = {(replica, key): value for replica, payload in payloads for key, value in split_lines(payload)}
    assert found == pending
