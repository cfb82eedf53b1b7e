"""With keys configured: no key no answer, and nobody learns even whether somebody else's session exists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "auth": {"keys": {"alice": "key-of-alice", "bob": "key-of-bob"}},
    "agents": {"assistant": {"memory": {"longterm": {"storage_scope": "conversational"}}}},
    "embedders": {"default": {"type": "none"}},
}

BODY = {"message": "Hello", "content": "Hello", "title": "Taken over"}
OPEN = ("/health", "/ready", "/metrics", "/openapi.json")
"""The last two for callers on this machine, as the tests are."""
METHODS = ("get", "post", "put", "patch", "delete")


def bearer(name: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer key-of-{name}", **more}


@pytest_asyncio.fixture(loop_scope="module")
async def alice(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, headers=bearer("alice"), trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def bob(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, headers=bearer("bob"), trust_env=False) as client:
        yield client


async def all_routes(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    """(method, path with its parameters) of everything in the OpenAPI document, the streams among them."""
    paths = good(await client.get("/openapi.json"))["paths"]
    found = [(method, path) for path, operations in paths.items() for method in METHODS if method in operations]
    assert ("get", "/agents/{agent}/sessions/{session_id}/messages/stream") in found
    assert ("delete", "/agents/{agent}/sessions/{session_id}") in found
    return found


def fill(path: str, **names: str) -> str:
    for name, value in ({"agent": "assistant"} | names).items():
        path = path.replace("{" + name + "}", value)
    return path.replace("{", "").replace("}", "")


async def ask(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    body = BODY if method in ("post", "put", "patch") else None
    return await client.request(method, path, json=body, **options)


async def test_every_route_asks_for_a_key_before_it_says_anything_else(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    for method, path in await all_routes(client):
        if path in OPEN:
            continue
        for agent in ("assistant", "no-such-agent"):
            answer = await ask(client, method, fill(path, agent=agent))
            assert reason(answer) == (401, "unauthenticated"), (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert reason(await client.get("/no/such/address")) == (401, "unauthenticated")
    assert not upstream.requests


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer wrong", "Basic key-of-alice", "key-of-alice", "Bearer key-of-alice2", "Bearer \xe9"],
)
async def test_a_wrong_key_is_as_good_as_none(client: httpx.AsyncClient, given: str) -> None:
    headers = {b"Authorization": given.encode("latin-1")}
    assert reason(await client.get("/agents", headers=headers)) == (401, "unauthenticated")


async def test_what_watches_over_a_server_needs_no_key(client: httpx.AsyncClient) -> None:
    for path in OPEN:
        assert (await client.get(path)).status_code == 200, path


async def test_the_scheme_is_read_in_any_case(client: httpx.AsyncClient) -> None:
    for scheme in ("bearer", "BEARER", "Bearer"):
        response = await client.get("/agents", headers={"Authorization": f"{scheme} key-of-alice"})
        assert response.status_code == 200


async def test_somebody_elses_session_is_unknown_on_every_route_word_for_word(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(alice)
    said = await talk.say("Hello")
    names = {"turn_id": said["turn_id"], "message_id": said["message_id"]}
    before = await talk.info()
    walked = 0
    for method, path in await all_routes(alice):
        if "{session_id}" not in path:
            continue
        walked += 1
        theirs = await ask(bob, method, fill(path, session_id=talk.session_id, **names))
        unknown = await ask(bob, method, fill(path, session_id="sess_unknown", **names))
        assert reason(theirs) == (404, "session_not_found"), (method, path)
        assert words(theirs, talk.session_id) == words(unknown, "sess_unknown")
    assert walked >= 12
    assert await talk.info() == before
    assert len(upstream.requests) == 1


async def test_somebody_elses_memory_is_unknown_on_every_route_word_for_word(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    memory = good(await alice.post("/agents/assistant/memories", json={"text": "Hers alone"}))
    walked = 0
    for method, path in await all_routes(alice):
        if "{memory_id}" not in path:
            continue
        walked += 1
        theirs = await ask(bob, method, fill(path, memory_id=memory["memory_id"]))
        unknown = await ask(bob, method, fill(path, memory_id="memory_unknown"))
        assert reason(theirs) == (404, "memory_not_found"), (method, path)
        assert words(theirs, memory["memory_id"]) == words(unknown, "memory_unknown")
    assert walked >= 3
    listed = good(await alice.get("/agents/assistant/memories?kind=note"))["memories"]
    assert listed == [memory]


def words(answer: httpx.Response, identifier: str) -> str:
    """The answer without what always differs."""
    error = answer.json()["error"]
    error.pop("request_id")
    return str(error).replace(identifier, "…")


async def test_a_terminated_session_is_gone_for_its_owner_and_unknown_to_others(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    talk = await Talk.begin(alice)
    await talk.terminate()
    assert reason(await alice.get(talk.path)) == (410, "session_terminated")
    assert reason(await bob.get(talk.path)) == (404, "session_not_found")
    taken = await bob.post("/agents/assistant/sessions", json={"session_id": talk.session_id})
    assert reason(taken) == (409, "session_exists")


async def test_an_id_that_somebody_else_has_chosen_is_taken(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    await Talk.begin(alice, session_id="mine")
    taken = await bob.post("/agents/assistant/sessions", json={"session_id": "mine"})
    assert reason(taken) == (409, "session_exists")
    assert taken.json()["error"]["code"] == "ALREADY_EXISTS"


async def test_lists_show_ones_own_only(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    hers, his = await Talk.begin(alice), await Talk.begin(bob)
    for client, own, foreign in ((alice, hers, his), (bob, his, hers)):
        listed = good(await client.get("/agents/assistant/sessions?limit=200"))["sessions"]
        ids = [session["session_id"] for session in listed]
        assert own.session_id in ids
        assert foreign.session_id not in ids


async def test_the_same_idempotency_key_of_two_callers_is_two_keys(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient, upstream: Upstream
) -> None:
    body, headers = {"message": "Hello"}, {"Idempotency-Key": "same"}
    one = good(await alice.post("/agents/assistant/messages", json=body, headers=headers))
    two = good(await bob.post("/agents/assistant/messages", json=body, headers=headers))
    assert one["turn_id"] != two["turn_id"]


async def test_a_key_sees_all_of_its_end_users_and_each_of_them_only_what_is_theirs(
    alice: httpx.AsyncClient, upstream: Upstream
) -> None:
    ann = await Talk.begin(alice, user_id="ann")
    ben = good(await alice.post("/agents/assistant/sessions", headers={"X-User-Id": "ben"}))
    assert (await ann.info())["user_id"] == "ann"
    assert ben["user_id"] == "ben"
    own = await alice.get(ann.path, headers={"X-User-Id": "ann"})
    other = await alice.get(ann.path, headers={"X-User-Id": "ben"})
    assert own.status_code == 200
    assert reason(other) == (404, "session_not_found")
    listed = good(await alice.get("/agents/assistant/sessions?user_id=ben"))["sessions"]
    assert {session["user_id"] for session in listed} == {"ben"}
    nobody_named = good(await alice.post("/agents/assistant/sessions"))
    assert nobody_named["user_id"] == "alice"


async def test_secrets_do_not_appear_in_the_log(server: HectorServer) -> None:
    for secret in ("key-of-alice", "key-of-bob", "test-key"):
        assert secret not in server.log_text
