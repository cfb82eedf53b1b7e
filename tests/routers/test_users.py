"""One request, one user: header, address and body name the same person, or it is refused. On both databases."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from app.main import create_app
from app.runtime import Runtime
from tests.fixtures.talk import good, reason
from tests.routers.conftest import client_of, say

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT = "assistant"


@dataclass(frozen=True)
class Operation:
    """One of the OpenAPI document; `body` is an example of what it takes."""

    method: str
    path: str
    body: dict[str, Any] | None

    def url(self, names: Mapping[str, str]) -> str:
        return self.path.format_map({name: quote(value) for name, value in names.items()})


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Those that take a user; but not the figures, which callers on this machine get without being anybody, and not
    what a plain key may not ask at all.
    """
    for path, methods in document["paths"].items():
        for method, found in methods.items():
            references = [parameter.get("$ref", "") for parameter in found.get("parameters", [])]
            if "#/components/parameters/UserId" in references and path not in (
                "/metrics",
                "/admin/keys",
                "/admin/keys/{key_id}",
            ):
                yield Operation(method.upper(), path, example(document, found))


def example(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    schema = content["schema"].get("anyOf", [content["schema"]])[0]
    name = schema["$ref"].rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name]["examples"][0]
    return found


@dataclass(frozen=True)
class Belongings:
    """What a user has, as the names in addresses."""

    names: dict[str, str]

    @classmethod
    async def of(cls, client: httpx.AsyncClient, user: str) -> Belongings:
        session_id = await say(client, f"{user} drinks jasmine tea", user_id=user)
        session = good(await client.get(f"/agents/{AGENT}/sessions/{session_id}/messages"))["messages"]
        memory = good(await client.get(f"/agents/{AGENT}/memories?user_id={user}"))["memories"][-1]
        return cls(
            {
                "agent": AGENT,
                "session_id": session_id,
                "memory_id": memory["memory_id"],
                "message_id": session[0]["message_id"],
                "turn_id": session[0]["turn_id"],
                "store": "none",
                "call_id": "none",
                "result_id": "none",
            }
        )


async def state(client: httpx.AsyncClient, user: str) -> list[Any]:
    """All that is stored of a user."""
    query = f"?user_id={user}"
    sessions = good(await client.get(f"/agents/{AGENT}/sessions{query}"))["sessions"]
    return [
        sessions,
        good(await client.get(f"/agents/{AGENT}/memories{query}"))["memories"],
        [
            good(await client.get(f"/agents/{AGENT}/sessions/{session['session_id']}/messages"))["messages"]
            for session in sessions
        ],
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def documented(runtime: Runtime) -> list[Operation]:
    return list(operations(create_app(runtime).openapi()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def key(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    """One for all tests of this file that only are refused."""
    async with client_of(runtime, "shared") as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mallory(key: httpx.AsyncClient) -> Belongings:
    return await Belongings.of(key, "mallory")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ann(key: httpx.AsyncClient) -> Belongings:
    return await Belongings.of(key, "ann")


async def test_every_address_that_knows_callers_takes_a_user(documented: list[Operation]) -> None:
    paths = {operation.path for operation in documented}
    assert {"/usage", "/agents/{agent}/forget", "/agents/{agent}/messages/stream"} <= paths
    assert len(documented) > 35
    assert not {"/health", "/ready"} & paths


async def test_two_users_in_one_request_are_refused(
    key: httpx.AsyncClient, mallory: Belongings, ann: Belongings, documented: list[Operation]
) -> None:
    before = await state(key, "ann")
    header = {"X-User-Id": "mallory"}
    for operation in documented:
        for names in (mallory.names, ann.names):
            url = operation.url(names)
            for query in ("user_id=ann", "user%5Fid=ann", "user_id=mallory&user_id=ann"):
                refused = await key.request(operation.method, f"{url}?{query}", headers=header, json=operation.body)
                assert reason(refused) == (422, "invalid_request"), operation
                assert "'mallory' and 'ann'" in refused.json()["error"]["message"], operation
    assert await state(key, "ann") == before


async def test_a_body_that_names_another_user_than_the_request_is_refused(
    key: httpx.AsyncClient, mallory: Belongings, ann: Belongings, documented: list[Operation]
) -> None:
    before = await state(key, "ann")
    header = {"X-User-Id": "mallory"}
    for operation in documented:
        if operation.body is None:
            continue
        body = {**operation.body, "user_id": "ann"}
        own, others = operation.url(mallory.names), operation.url(ann.names)
        by_header = await key.request(operation.method, own, headers=header, json=body)
        by_query = await key.request(operation.method, f"{own}?user_id=mallory", json=body)
        assert {reason(by_header), reason(by_query)} == {(422, "invalid_request")}, operation
        assert (await key.request(operation.method, others, headers=header, json=body)).is_error, operation
        if "{session_id}" in operation.path:
            unknown = operation.url({**mallory.names, "session_id": "unknown"})
            missing = await key.request(operation.method, unknown, headers=header, json=body)
            assert reason(missing) == (404, "session_not_found"), operation
    assert await state(key, "ann") == before


async def test_what_is_of_another_user_is_not_there_wherever_the_user_is_named(
    key: httpx.AsyncClient, mallory: Belongings, ann: Belongings, documented: list[Operation]
) -> None:
    before = await state(key, "ann")
    for operation in documented:
        if "{session_id}" not in operation.path and "{memory_id}" not in operation.path:
            continue
        kind = "session" if "{session_id}" in operation.path else "memory"
        url = operation.url(ann.names)
        answers = [
            await key.request(operation.method, url, headers={"X-User-Id": "mallory"}, json=operation.body),
            await key.request(operation.method, f"{url}?user_id=mallory", json=operation.body),
        ]
        if operation.body is not None:
            body = {**operation.body, "user_id": "mallory"}
            answers.append(await key.request(operation.method, url, json=body))
        assert {reason(refused) for refused in answers} == {(404, f"{kind}_not_found")}, operation
    assert await state(key, "ann") == before


WAYS = ("header", "query", "body")


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_name_a_user_does_the_same(alice: httpx.AsyncClient, way: str) -> None:
    async def post(path: str, **body: Any) -> httpx.Response:
        query = "?user_id=ann" if way == "query" else ""
        headers = {"X-User-Id": "ann"} if way == "header" else {}
        extra = {"user_id": "ann"} if way == "body" else {}
        return await alice.post(f"/agents/{AGENT}/{path}{query}", headers=headers, json={**body, **extra})

    session_id = good(await post("sessions"))["session_id"]
    assert good(await post(f"sessions/{session_id}/messages", message="I like jasmine tea"))["response"] == "Noted."
    assert good(await post(f"sessions/{session_id}/fork"))["user_id"] == "ann"
    assert good(await post("memories", text="Ann drinks jasmine tea"))["user_id"] == "ann"
    assert {hit["user_id"] for hit in good(await post("memories/search", query="jasmine tea"))["hits"]} == {"ann"}
    one_shot = await post("messages", message="What tea do I drink?")
    assert good(one_shot)["response"] == "Noted."
    assert good(await alice.get(f"/agents/{AGENT}/sessions?user_id=bob"))["sessions"] == []
    assert {row["user_id"] for row in good(await alice.get("/usage?by=user"))["usage"]} == {"ann"}
    assert good(await alice.get("/usage?by=user&user_id=bob"))["usage"] == []
    assert good(await post("forget", phrase="tea"))["removed"]["memories"] >= 2
    left = good(await alice.get(f"/agents/{AGENT}/memories"))["memories"]
    assert [memory["text"] for memory in left if "tea" in memory["text"]] == []


async def test_an_import_is_of_the_user_that_the_request_names(alice: httpx.AsyncClient) -> None:
    await say(alice, "Ann drinks jasmine tea", user_id="ann")
    before = await state(alice, "ann")
    exported = await alice.get(f"/agents/{AGENT}/memories/export?user_id=ann")
    lines = "\n".join([json.dumps({**json.loads(line), "text": "poison"}) for line in exported.text.splitlines()])
    header = {"X-User-Id": "mallory"}
    await alice.post(f"/agents/{AGENT}/memories/import", headers=header, content=lines)
    assert await state(alice, "ann") == before
    texts = good(await alice.get(f"/agents/{AGENT}/memories?user_id=mallory"))["memories"]
    assert {memory["text"] for memory in texts} == {"poison"}


@pytest.mark.parametrize("user_id", [7, True, [], {"a": 1}])
@pytest.mark.parametrize("path", ["sessions", "messages", "memories/search", "forget", "messages/stream"])
async def test_a_user_in_a_body_is_a_text(alice: httpx.AsyncClient, path: str, user_id: Any) -> None:
    body = {"message": "Hello", "query": "tea", "phrase": "tea", "user_id": user_id}
    refused = await alice.post(f"/agents/{AGENT}/{path}", json=body)
    assert reason(refused) == (422, "invalid_request")


@pytest.mark.parametrize("query", ["user_id=", "user_id", f"user_id={'u' * 257}", "user_id=%00"])
async def test_a_user_in_an_address_has_a_sensible_length(alice: httpx.AsyncClient, query: str) -> None:
    assert reason(await alice.get(f"/agents/{AGENT}/sessions?{query}")) == (422, "invalid_request")
