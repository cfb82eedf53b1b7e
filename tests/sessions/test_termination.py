"""Termination: nothing of the session is left but a stone without a name. The races are in tests/turns."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pytest

from app.domain.errors import SessionOver, Unavailable
from app.domain.memory import Owner, Scope
from app.domain.principal import Principal
from app.events.log import SessionLog
from app.memory.longterm import Saying
from app.sessions.tombstones import Tombstones, receipt_json
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


# -- the database cannot write ------------------------------------------------------------------


@pytest.fixture
def is_slow_to_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is retried because time has passed."""
    monkeypatch.setattr("app.sessions.termination.MIN_PAUSE_SECONDS", 60)


async def refused(house: House, *, ephemeral: bool = False) -> SessionLog:
    """A session whose termination could not be stored."""
    log = await house.session("mine", ephemeral=ephemeral)
    house.database.refuses = lambda unit: True
    with pytest.raises(Unavailable):
        await house.terminations.terminate(log)
    return log


@pytest.mark.usefixtures("is_slow_to_retry")
@pytest.mark.parametrize("ephemeral", [False, True])
async def test_nobody_is_told_that_a_session_is_gone_before_that_is_stored(house: House, ephemeral: bool) -> None:
    await refused(house, ephemeral=ephemeral)
    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot write"):
            await house.sessions.get(ALICE, "assistant", "mine")
        with pytest.raises(Unavailable, match="cannot write"):
            await house.session("mine")
    assert house.tombstones.unstored == ["mine"]
    house.database.refuses = None
    with pytest.raises(SessionOver) as caught:
        await house.sessions.get(ALICE, "assistant", "mine")
    assert await house.tombstones.find("mine") is not None
    assert caught.value.details["session_id"] == "mine"
    assert house.tombstones.unstored == []


@pytest.mark.usefixtures("is_slow_to_retry")
async def test_it_is_stored_as_soon_as_the_database_writes_anything(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await refused(house)
    await until(lambda: "session mine is stopped and not erased yet" in caplog.text)
    house.database.refuses = None
    await house.session("another")
    await until(lambda: house.live.peek("mine") is None)
    assert await house.tombstones.find("mine") is not None
    assert await count_rows(house.database, "mine") == {}


@pytest.mark.usefixtures("is_slow_to_retry")
async def test_a_shutdown_tries_to_store_it_once_more(house: House, caplog: pytest.LogCaptureFixture) -> None:
    await refused(house)
    house.database.refuses = None
    await house.terminations.close()
    assert await house.tombstones.find("mine") is not None
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.usefixtures("is_slow_to_retry")
async def test_a_shutdown_names_the_sessions_that_come_back(house: House, caplog: pytest.LogCaptureFixture) -> None:
    await refused(house)
    await house.terminations.close()
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "1 terminated sessions are not erased" in errors[0]
    assert errors[0].endswith(": mine")


async def test_who_comes_while_it_is_being_stored_waits_and_is_told_the_truth(house: House) -> None:
    log = await house.session("mine")
    house.database.hold()
    terminating = asyncio.ensure_future(house.terminations.terminate(log))
    await until(lambda: house.database.held == 1)
    asking = [asyncio.ensure_future(house.sessions.get(ALICE, "assistant", "mine")) for _ in range(2)]
    again = asyncio.ensure_future(house.terminations.terminate(log))
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in (*asking, again))
    house.database.fail_held()
    results = await asyncio.gather(terminating, again, *asking, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 4


async def test_a_second_terminate_at_the_same_moment_gets_the_receipt(house: House) -> None:
    log = await house.session("mine")
    twice = [house.terminations.terminate(log) for _ in range(2)]
    first, second = await asyncio.gather(*twice, return_exceptions=True)
    assert isinstance(second, SessionOver)
    assert not isinstance(first, BaseException)
    assert second.details == receipt_json(first)


async def test_a_fault_in_what_others_are_to_keep_does_not_keep_it_alive(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    log = await house.session("mine")
    monkeypatch.setattr(house.final, "before_erasure", fail)
    await house.terminations.terminate(log)
    assert await house.tombstones.find("mine") is not None


async def test_a_deletion_request_is_not_finished_while_a_termination_is_not_stored(house: House) -> None:
    log = await house.session("mine", user="Ann")
    house.database.refuses = lambda unit: unit.session_id == "mine"
    with pytest.raises(Unavailable):
        await house.terminations.terminate(log)
    for target in ({"user_id": "Ann"}, {"session_id": "mine"}):
        with pytest.raises(Unavailable, match="retried"):
            await house.forgettings.forget("assistant", "alice", **target)
    house.database.refuses = None
    await house.forgettings.resume()
    assert await house.tombstones.find("mine") is not None
    assert await count_rows(house.database, "mine") == {}


async def test_a_terminated_session_is_let_go_without_the_collector(house: House) -> None:
    log = await house.session("mine")
    await house.say(log, "Hi", "Hello")
    held = weakref.ref(log)
    gc.disable()
    try:
        await house.terminations.terminate(log)
        del log
        await until(lambda: held() is None)
    finally:
        gc.enable()
