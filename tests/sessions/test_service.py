"""Sessions: made once, found by those who may see them, listed in pages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, SessionOver, Unavailable
from app.domain.principal import Principal
from app.domain.session import SessionStatus
from tests.fixtures.clock import Clock
from tests.fixtures.house import ALICE, House, until

BOB = Principal("bob", "key")


def on_behalf(user_id: str, principal: Principal = ALICE) -> Principal:
    return Principal(principal.id, principal.kind, user_id)


async def refusal(awaited: Any) -> tuple[str, str]:
    """(reason, sentence) of what is raised."""
    with pytest.raises((NotFound, Conflict, SessionOver)) as caught:
        await awaited
    return caught.value.reason, caught.value.message


async def test_a_new_session_is_active_and_belongs_to_its_maker(house: House) -> None:
    log, is_new = await house.sessions.create(on_behalf("u7"), "assistant")
    session = log.session
    assert is_new
    assert (session.status, session.principal, session.user_id) == (SessionStatus.ACTIVE, "alice", "u7")
    assert await house.sessions.get(ALICE, "assistant", session.session_id) is log


async def test_a_chosen_id_again_is_the_same_session_warm_and_cold(house: House) -> None:
    log = await house.session("mine")
    assert await house.sessions.create(ALICE, "assistant", session_id="mine") == (log, False)
    house.live.remove("mine")
    cold, is_new = await house.sessions.create(ALICE, "assistant", session_id="mine")
    assert (cold.session.session_id, is_new) == ("mine", False)


async def test_a_chosen_id_asked_for_at_once_is_made_once(house: House) -> None:
    made = await asyncio.gather(
        *[house.sessions.create(ALICE, "assistant", session_id="mine") for _ in range(5)],
        *[house.sessions.create(BOB, "assistant", session_id="mine") for _ in range(2)],
        return_exceptions=True,
    )
    mine, others = made[:5], made[5:]
    assert [found[1] for found in mine if not isinstance(found, BaseException)] == [True, *[False] * 4]
    assert all(isinstance(found, Conflict) for found in others)
    assert house.sessions._creating == {}


@pytest.mark.parametrize(("principal", "agent"), [(BOB, "assistant"), (ALICE, "coder"), (on_behalf("u7"), "assistant")])
async def test_an_id_of_somebody_else_is_taken(house: House, principal: Principal, agent: str) -> None:
    await house.session("mine")
    assert (await refusal(house.sessions.create(principal, agent, session_id="mine")))[0] == "session_exists"


@pytest.mark.parametrize("session_id", ["", "a b", "ü", "a/b", "x" * 129, "a\n", "../x"])
async def test_an_id_has_plain_characters_only(house: House, session_id: str) -> None:
    with pytest.raises(InvalidRequest):
        await house.sessions.create(ALICE, "assistant", session_id=session_id)


@pytest.mark.parametrize("session_id", ["a", "x" * 128, "A-b_c.d:9", "."])
async def test_an_id_may_be_chosen(house: House, session_id: str) -> None:
    assert (await house.session(session_id)).session.session_id == session_id


@pytest.mark.parametrize(("principal", "agent"), [(BOB, "assistant"), (ALICE, "coder"), (on_behalf("u7"), "assistant")])
async def test_somebody_elses_session_is_not_there_word_for_word(
    house: House, principal: Principal, agent: str
) -> None:
    await house.session("theirs")
    found = await refusal(house.sessions.get(principal, agent, "theirs"))
    unknown = await refusal(house.sessions.get(principal, agent, "nobody"))
    assert found[0] == "session_not_found"
    assert found[1].replace("theirs", "nobody") == unknown[1]


async def test_a_terminated_session_is_gone_for_its_owner_and_unknown_to_others(house: House) -> None:
    log = await house.session("mine")
    await house.terminations.terminate(log)
    for call in (
        house.sessions.get(ALICE, "assistant", "mine"),
        house.sessions.create(ALICE, "assistant", session_id="mine"),
    ):
        assert (await refusal(call))[0] == "session_terminated"
    assert (await refusal(house.sessions.get(BOB, "assistant", "mine")))[0] == "session_not_found"
    assert (await refusal(house.sessions.get(ALICE, "coder", "mine")))[0] == "session_not_found"
    assert (await refusal(house.sessions.create(BOB, "assistant", session_id="mine")))[0] == "session_exists"


async def test_a_session_terminated_while_it_is_looked_up_is_gone(tmp_path: Path) -> None:
    house = House(tmp_path / "hector.db", clock=Clock(), timeout="1s")
    await house.open()
    log = await house.session("mine")
    house.clock.advance(2)
    house.database.hold()
    looking = asyncio.ensure_future(house.sessions.get(ALICE, "assistant", "mine"))
    await until(lambda: house.database.held == 1)  # it has expired
    terminating = asyncio.ensure_future(house.terminations.terminate(log))
    await asyncio.sleep(0)
    house.database.let_go()
    assert (await refusal(looking))[0] == "session_terminated"
    await terminating
    await house.close()


async def test_the_receipt_stands_in_the_refusal(house: House) -> None:
    log = await house.session("mine")
    turn = await house.start(log)
    await house.terminations.terminate(log)
    with pytest.raises(SessionOver) as caught:
        await house.sessions.get(ALICE, "assistant", "mine")
    details = caught.value.details
    assert (details["status"], details["turn_id"]) == ("terminated", turn.turn_id)


async def test_a_session_that_cannot_be_stored_is_not_made(house: House) -> None:
    house.database.refuses = lambda unit: True
    with pytest.raises(Unavailable):
        await house.session("mine")
    house.database.refuses = None
    assert house.live.peek("mine") is None
    await house.session("mine")


async def test_a_user_has_no_more_active_sessions_than_allowed(house: House) -> None:
    house.sessions._max_per_user = 2
    first = await house.session()
    await house.session()
    with pytest.raises(QuotaExceeded):
        await house.session()
    await house.sessions.create(on_behalf("u7"), "assistant")
    await house.endings.end(first)
    await house.session()


async def test_no_more_sessions_are_made_at_once_than_one_after_another(house: House) -> None:
    house.sessions._max_per_user = 3
    agents = ("assistant", "other")
    made = await asyncio.gather(
        *[house.sessions.create(on_behalf("u7"), agents[number % 2]) for number in range(60)], return_exceptions=True
    )
    assert [type(one) for one in made if isinstance(one, BaseException)] == [QuotaExceeded] * 57
    await house.sessions.create(on_behalf("u8"), "assistant")
    with pytest.raises(QuotaExceeded):
        await house.sessions.create(on_behalf("u7"), "assistant")


async def listed(house: House, principal: Principal = ALICE, **wanted: Any) -> list[str]:
    query: dict[str, Any] = {"status": None, "order": "creation", "before": None, "limit": 50}
    page = await house.sessions.list(principal, "assistant", **(query | wanted))
    return [session.session_id for session in page]


async def test_lists_show_ones_own_newest_first(house: House) -> None:
    for name in ("a", "b"):
        await house.session(name)
    await house.sessions.create(BOB, "assistant", session_id="bobs")
    await house.sessions.create(on_behalf("u7"), "assistant", session_id="users")
    assert await listed(house) == ["users", "b", "a"]
    assert await listed(house, on_behalf("u7")) == ["users"]
    assert await listed(house, BOB) == ["bobs"]


async def test_terminated_and_ephemeral_sessions_are_not_listed(house: House) -> None:
    log = await house.session("gone")
    await house.sessions.one_shot(ALICE, "assistant", None)
    await house.terminations.terminate(log)
    assert await listed(house) == []


async def test_pages_by_activity_show_each_session_once(house: House) -> None:
    for name in ("a", "b", "c", "d"):
        await house.say(await house.session(name), "Hi", "Hello")
    found: list[str] = []
    before = None
    while page := await house.sessions.list(ALICE, "assistant", status=None, order="activity", before=before, limit=1):
        found.append(page[0].session_id)
        before = (page[0].active_ms, page[0].session_id)
        assert len(found) < 10
    assert found == ["d", "c", "b", "a"]


async def test_title_and_metadata_can_be_changed(house: House) -> None:
    log = await house.session()
    await house.sessions.describe(log, title="A title", metadata={"a": [1]})
    house.live.remove(log.session.session_id)
    cold = await house.sessions.get(ALICE, "assistant", log.session.session_id)
    assert (cold.session.title, cold.session.metadata) == ("A title", {"a": [1]})


async def test_a_one_shot_has_a_session_of_its_own_and_a_key_the_same_again(house: House) -> None:
    one, other = [await house.sessions.one_shot(ALICE, "assistant", None) for _ in range(2)]
    assert one is not other
    keyed = await asyncio.gather(*[house.sessions.one_shot(ALICE, "assistant", "k") for _ in range(3)])
    assert keyed[0] is keyed[1] is keyed[2]
    assert await house.sessions.one_shot(BOB, "assistant", "k") is not keyed[0]
    assert await house.sessions.one_shot(ALICE, "coder", "k") is not keyed[0]
    assert await house.sessions.one_shot(on_behalf("u7"), "assistant", "k") is not keyed[0]
    assert one.session.ephemeral


async def test_an_ephemeral_session_leaves_nothing_in_the_durable_database(house: House) -> None:
    log = await house.sessions.one_shot(ALICE, "assistant", None)
    assert (await house.say(log, "Hi", "Hello")).text == "Hello"
    from tests.fixtures.rows import count_rows

    assert await count_rows(house.database, log.session.session_id) == {}
    assert (await count_rows(house.memory, log.session.session_id))["messages"] == 2
