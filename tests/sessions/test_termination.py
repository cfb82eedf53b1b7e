"""Termination: nothing of the session is left but a stone without a name. The races are in tests/turns."""

from __future__ import annotations

import pytest

from app.domain.errors import Unavailable
from app.domain.memory import Owner, Scope
from app.domain.principal import Principal
from app.events.log import SessionLog
from app.memory.longterm import Saying
from app.sessions.tombstones import Tombstones
from app.turns.memory import owner_of
from tests.fixtures.house import ALICE, House, frames_of, until
from tests.fixtures.rows import count_rows


async def test_the_receipt_says_what_was_stopped(house: House) -> None:
    log = await house.session("mine")
    turn = await house.start(log)
    stream = await house.llm.answering()
    stream.say("a", "b")
    await until(lambda: log.last_seq == 3)
    receipt = await house.terminations.terminate(log)
    assert (receipt.session_id, receipt.turn_id, receipt.last_seq) == ("mine", turn.turn_id, 5)
    assert receipt.upstream_closed_ms is not None
    assert receipt.upstream_closed_ms >= receipt.ordered_ms


async def test_an_idle_session_has_a_receipt_without_a_turn(house: House) -> None:
    log = await house.session()
    receipt = await house.terminations.terminate(log)
    assert (receipt.turn_id, receipt.upstream_closed_ms, receipt.tokens_after_order) == (None, None, 0)
    assert [kind for _, kind, _ in await frames_of(house.read(log))] == ["session_terminated"]


async def test_an_ended_session_can_be_terminated(house: House) -> None:
    log = await house.session("mine")
    await house.say(log, "Hi", "Hello")
    await house.endings.end(log)
    await house.terminations.terminate(log)
    assert await count_rows(house.database, "mine") == {}


async def test_the_stone_names_nobody(house: House) -> None:
    log, _ = await house.sessions.create(Principal("alice", "key", "Ms. Smith"), "assistant", session_id="s-mine")
    await house.say(log, "my secret question", "my secret answer")
    await house.terminations.terminate(log)
    rows = await house.database.read(
        lambda connection: connection.exec_driver_sql("SELECT id_hash, owner_hash, receipt FROM tombstones").all()
    )
    assert len(rows) == 1
    for word in ("Smith", "alice", "secret"):
        assert word not in str(rows)


async def remembering(house: House) -> SessionLog:
    """A session that remembers something for itself and something for its user."""
    log = await house.session("mine")
    for scope, text in ((Scope.SESSION, "narrow fact"), (Scope.CONVERSATIONAL, "wide fact")):
        await house.longterm.remember(owner_of(log.session), scope, [Saying("user", "alice", text, 1000)])
    return log


async def recalled(house: House) -> list[str]:
    asker = Owner("assistant", "alice", "alice", "mine")
    found = await house.longterm.recall("fact", owner=asker, scope=Scope.CONVERSATIONAL)
    return sorted([hit.memory.text for hit in found.hits])


async def test_what_the_session_alone_remembers_goes_with_it_and_the_rest_stays(house: House) -> None:
    log = await remembering(house)
    assert await recalled(house) == ["narrow fact", "wide fact"]
    await house.terminations.terminate(log)
    assert await recalled(house) == ["wide fact"]


async def test_all_that_is_remembered_of_it_goes_on_request(house: House) -> None:
    log = await remembering(house)
    await house.terminations.terminate(log, forget_all=True)
    assert await recalled(house) == []
    assert await count_rows(house.database, "mine") == {}


async def test_a_memory_that_could_not_be_forgotten_at_first_is_forgotten_later(house: House) -> None:
    log = await remembering(house)
    house.database.refuses = lambda unit: True
    with pytest.raises(Unavailable):
        await house.terminations.terminate(log, forget_all=True)
    house.database.refuses = None
    await until(lambda: house.live.peek("mine") is None)
    assert await recalled(house) == []


async def test_another_key_finds_no_stone(house: House) -> None:
    await house.terminations.terminate(await house.session("mine"))
    assert await house.tombstones.find("mine") is not None
    assert await Tombstones(house.database, secret=b"other").find("mine") is None


async def test_the_stone_knows_its_owner(house: House) -> None:
    await house.terminations.terminate(await house.session("mine"))
    found = await house.tombstones.find("mine")
    assert found is not None

    def is_owner(agent: str, principal: str, session_id: str = "mine") -> bool:
        return house.tombstones.is_owner(found[0], agent=agent, principal=principal, session_id=session_id)

    assert is_owner("assistant", "alice")
    assert not is_owner("assistant", "bob")
    assert not is_owner("coder", "alice")
    assert not is_owner("assistant", "alice", "other")


async def test_an_ephemeral_session_leaves_its_stone_where_a_restart_finds_it(house: House) -> None:
    log = await house.sessions.one_shot(ALICE, "assistant", None)
    await house.say(log, "Hi", "Hello")
    await house.terminations.terminate(log)
    session_id = log.session.session_id
    assert await house.tombstones.find(session_id) is not None
    assert await count_rows(house.memory, session_id) == {}


async def test_also_when_the_durable_database_could_not_write_at_first(house: House) -> None:
    log = await house.sessions.one_shot(ALICE, "assistant", None)
    house.database.refuses = lambda unit: True
    with pytest.raises(Unavailable):
        await house.terminations.terminate(log)
    house.database.refuses = None
    await until(lambda: house.live.peek(log.session.session_id) is None)
    assert await house.tombstones.find(log.session.session_id) is not None
