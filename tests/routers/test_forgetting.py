"""Forgetting over HTTP: what may be named, by whom, and the form of the receipt. tests/forgetting has the rest."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.doors.schemas.forgetting import ForgottenCounts
from tests.fixtures.talk import good, reason
from tests.routers.conftest import say

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/agents/assistant/forget"


async def forget(client: httpx.AsyncClient, *, agent: str = "assistant", **body: Any) -> dict[str, Any]:
    return good(await client.post(f"/agents/{agent}/forget", json=body))


async def texts(client: httpx.AsyncClient, session_id: str, *, agent: str = "assistant") -> list[str]:
    found = good(await client.get(f"/agents/{agent}/sessions/{session_id}/messages"))["messages"]
    return [message["content"] for message in found]


async def memories(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list(good(await client.get("/agents/assistant/memories"))["memories"])


async def test_a_receipt_counts_what_went_and_what_was_found(alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "My name is Ann", user_id="ann")
    kept = await say(alice, "My name is Ben", user_id="ben")
    receipt = await forget(alice, user_id="ann")
    assert set(receipt) == {"agent", "user_known", "found", "removed", "found_afterwards", "found_in", "problem"}
    assert list(receipt["removed"]) == list(ForgottenCounts.__annotations__)
    assert (receipt["found_afterwards"], receipt["found_in"], receipt["problem"]) == (0, {}, None)
    assert receipt["removed"]["sessions"] == 1
    assert receipt["removed"]["messages"] == receipt["removed"]["memories"] == 2
    assert reason(await alice.get(f"/agents/assistant/sessions/{session_id}")) == (410, "session_terminated")
    assert await texts(alice, kept) == ["My name is Ben", "Noted."]
    usage = good(await alice.get("/usage?by=user"))["usage"]
    assert {row["user_id"] for row in usage} == {"[forgotten]", "ben"}


async def test_an_agent_without_long_term_memory_forgets_all_the_same(alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "My secret is xyzzy", agent="forgetful")
    receipt = await forget(alice, agent="forgetful", phrase="XYZZY")
    assert receipt["removed"]["messages"] == 1
    assert await texts(alice, session_id, agent="forgetful") == ["[forgotten]", "Noted."]


async def test_what_a_memory_says_is_forgotten_where_it_was_said(alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "My dog is Rex")
    (told,) = [one for one in await memories(alice) if one["role"] == "user"]
    assert (await forget(alice, memory_id=told["memory_id"], session_id=session_id))["found_afterwards"] == 0
    assert await texts(alice, session_id) == ["[forgotten]", "Noted."]


async def test_a_session_that_was_terminated_is_forgotten_as_far_as_it_is_remembered(alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "My dog is Rex")
    good(await alice.delete(f"/agents/assistant/sessions/{session_id}"))
    assert len(await memories(alice)) == 2
    assert (await forget(alice, session_id=session_id))["removed"]["memories"] == 2
    assert await memories(alice) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"phrase": ""},
        {"phrase": "x"},
        {"phrase": "  x\n"},
        {"phrase": 5},
        {"user_id": ""},
        {"phrase": "xyzzy", "memory_id": "memory_x"},
    ],
)
async def test_what_is_to_be_forgotten_must_be_said(alice: httpx.AsyncClient, body: dict[str, Any]) -> None:
    await say(alice, "x y z")
    assert reason(await alice.post(PATH, json=body)) == (422, "invalid_request")
    assert len(await memories(alice)) == 2


async def test_nobody_forgets_what_is_anothers(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    session_id = await say(alice, "My dog is xyzzy", user_id="ann")
    memory_id = (await memories(alice))[0]["memory_id"]
    for body, word in (
        ({"session_id": session_id}, "session_not_found"),
        ({"memory_id": memory_id}, "memory_not_found"),
    ):
        assert reason(await bob.post(PATH, json=body)) == (404, word)
        as_ben = await alice.post(PATH, json=body, headers={"X-User-Id": "ben"})
        assert reason(as_ben) == (404, word)
    for whose in ({"user_id": "ann"}, {"phrase": "xyzzy"}):
        receipt = await forget(bob, **whose)
        assert sum(receipt["removed"].values()) == 0
    assert reason(await bob.post("/agents/nobody/forget", json={"phrase": "xyzzy"})) == (404, "agent_not_found")
    assert await texts(alice, session_id) == ["My dog is xyzzy", "Noted."]
    assert len(await memories(alice)) == 2


async def test_a_phrase_of_the_user_that_the_request_names_alone(alice: httpx.AsyncClient) -> None:
    hers, his = await say(alice, "xyzzy", user_id="ann"), await say(alice, "xyzzy", user_id="ben")
    good(await alice.post(PATH, json={"phrase": "xyzzy"}, headers={"X-User-Id": "ann"}))
    assert [(await texts(alice, one))[0] for one in (hers, his)] == ["[forgotten]", "xyzzy"]


FORMS = {
    "composed": "Jürgen".encode(),
    "decomposed": "Ju\u0308rgen".encode(),
    "latin-1": "Jürgen".encode("latin-1"),
    "escaped": b"UTF-8''J%C3%BCrgen",
}


@pytest.mark.parametrize("stored", FORMS)
@pytest.mark.parametrize("asked", ["Jürgen", "Ju\u0308rgen"])
async def test_what_was_said_under_any_form_of_a_name_is_forgotten(
    alice: httpx.AsyncClient, stored: str, asked: str
) -> None:
    header = {b"X-User-Id": FORMS[stored]}
    session_id = good(await alice.post("/agents/assistant/sessions", headers=header))["session_id"]
    path = f"/agents/assistant/sessions/{session_id}/messages"
    good(await alice.post(path, json={"message": "My name is on the list"}, headers=header))
    assert good(await alice.get("/agents/assistant/memories"))["memories"][0]["user_id"] == "Jürgen"
    receipt = await forget(alice, user_id=asked)
    assert receipt["user_known"] is True
    assert receipt["found"] == {"sessions": 1, "messages": 2, "memories": 2, "usage_rows": 1}
    assert (receipt["removed"]["sessions"], receipt["removed"]["memories"]) == (1, 2)
    assert await memories(alice) == []
    again = await forget(alice, user_id=asked)
    assert again["user_known"] is False
    assert set(again["found"].values()) == {0}


async def test_a_receipt_says_what_was_found_of_each_thing_that_can_be_named(alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "The parrot is blue", user_id="ann")
    other = await say(alice, "The parrot is green", user_id="ben")
    narrowed = await forget(alice, user_id="ben", phrase="parrot is blue")
    assert narrowed["user_known"] is True
    assert set(narrowed["found"].values()) == {0}
    nobody = await forget(alice, user_id="cleo", phrase="parrot")
    assert nobody["user_known"] is False
    phrase = await forget(alice, phrase="parrot is blue")
    assert phrase["user_known"] is None
    assert phrase["found"] == {"sessions": 1, "messages": 1, "memories": 1, "usage_rows": 0}
    told = next(one for one in await memories(alice) if one["text"] == "The parrot is green")
    assert (await forget(alice, memory_id=told["memory_id"]))["found"]["memories"] == 1
    session = await forget(alice, session_id=session_id)
    assert (session["found"]["sessions"], session["found"]["messages"]) == (1, 2)
    assert (await forget(alice, session_id=other, user_id="ben"))["found"]["sessions"] == 1
