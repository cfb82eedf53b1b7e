"""Memories over HTTP, on both databases: what callers do with theirs, and that nobody does it with others'."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.memory.longterm import LongTermMemory
from app.runtime import Runtime
from app.search.hash_embedder import HashEmbedder
from tests.fixtures.talk import good, reason
from tests.routers.conftest import client_of, say

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/agents/assistant/memories"


async def add(client: httpx.AsyncClient, text: str, *, agent: str = "assistant", **body: Any) -> dict[str, Any]:
    return good(await client.post(f"/agents/{agent}/memories", json={"text": text, **body}))


async def listed(client: httpx.AsyncClient, query: str = "", *, agent: str = "assistant") -> list[str]:
    found = good(await client.get(f"/agents/{agent}/memories?limit=200{query}"))["memories"]
    return [memory["text"] for memory in found]


async def search(client: httpx.AsyncClient, query: str, *, agent: str = "assistant", **body: Any) -> list[str]:
    found = good(await client.post(f"/agents/{agent}/memories/search", json={"query": query, **body}))
    return [hit["text"] for hit in found["hits"]]


async def test_what_was_said_is_listed_with_where_it_came_from(alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "My cat is called Pixel", user_id="ann")
    newest, first = good(await alice.get(PATH))["memories"]
    assert (first["text"], first["role"], first["kind"], first["scope"]) == (
        "My cat is called Pixel",
        "user",
        "message",
        "conversational",
    )
    assert (first["session_id"], first["user_id"], first["speaker"]) == (session_id, "ann", "ann")
    messages = good(await alice.get(f"/agents/assistant/sessions/{session_id}/messages"))["messages"]
    assert [(one["message_id"], one["turn_id"]) for one in (first, newest)] == [
        (message["message_id"], message["turn_id"]) for message in messages
    ]


async def test_lists_come_in_pages_and_are_chosen_by_user_session_and_kind(alice: httpx.AsyncClient) -> None:
    for number in range(5):
        await add(alice, f"note {number}", user_id="ann" if number % 2 else "ben")
    session_id = await say(alice, "Hello", user_id="ann")
    first = good(await alice.get(f"{PATH}?kind=note&limit=3"))
    rest = good(await alice.get(f"{PATH}?kind=note&limit=3&cursor={first['next_cursor']}"))
    assert [one["text"] for page in (first, rest) for one in page["memories"]] == [f"note {n}" for n in (4, 3, 2, 1, 0)]
    assert rest["next_cursor"] is None
    assert await listed(alice, "&user_id=ben") == ["note 4", "note 2", "note 0"]
    assert len(await listed(alice, f"&session_id={session_id}")) == 2
    for query in ("kind=x", "cursor=x", "limit=x", "cursor=WyJ4IiwxXQ"):
        assert reason(await alice.get(f"{PATH}?{query}")) == (422, "invalid_request")


async def test_a_note_is_of_no_session_and_found_in_all_of_its_user(alice: httpx.AsyncClient) -> None:
    note = await add(alice, "Ann drinks jasmine tea", user_id="ann", pinned=True)
    assert (note["session_id"], note["kind"], note["user_id"], note["pinned"]) == (None, "note", "ann", True)
    session_id = await say(alice, "Hello", user_id="ann")
    other = await say(alice, "Hello", user_id="ben")
    assert await search(alice, "jasmine tea", session_id=session_id, limit=1) == ["Ann drinks jasmine tea"]
    assert "Ann drinks jasmine tea" not in await search(alice, "jasmine tea", session_id=other)


async def test_a_note_may_belong_to_a_session_and_must_where_only_that_sees_it(alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "Hello", agent="narrow")
    note = await add(alice, "jasmine", agent="narrow", session_id=session_id)
    assert (note["session_id"], note["scope"]) == (session_id, "session")
    assert await search(alice, "jasmine", agent="narrow", session_id=session_id, limit=1) == ["jasmine"]
    assert await search(alice, "jasmine", agent="narrow", limit=1) == ["jasmine"]
    refused = await alice.post("/agents/narrow/memories", json={"text": "jasmine"})
    assert reason(refused) == (422, "invalid_request")
    in_memory = good(await alice.post("/agents/narrow/sessions", json={"ephemeral": True}))["session_id"]
    refused = await alice.post("/agents/narrow/memories", json={"text": "jasmine", "session_id": in_memory})
    assert reason(refused) == (422, "invalid_request")


async def test_nobody_looks_or_writes_further_than_the_configuration_says(alice: httpx.AsyncClient) -> None:
    for path, body in (("", {"text": "x"}), ("/search", {"query": "x"})):
        refused = await alice.post(PATH + path, json={**body, "scope": "all"})
        assert reason(refused) == (422, "invalid_request")
        assert "storage_scope" in refused.json()["error"]["message"]
    narrow = await add(alice, "only here", scope="session", session_id=await say(alice, "Hello"))
    assert narrow["scope"] == "session"


async def test_a_search_tells_scores_cues_and_neighbours(alice: httpx.AsyncClient) -> None:
    await say(alice, "I drink jasmine tea")
    found = good(await alice.post(f"{PATH}/search", json={"query": "jasmine tea", "limit": 1}))
    (hit,) = found["hits"]
    assert 0 < hit["score"] <= 1
    assert hit["cues"]["words"] > 0
    assert hit["after"]["role"] == "assistant"
    assert (hit["before"], found["by_meaning"]) == (None, False)
    assert await search(alice, "jasmine tea", threshold=1.0) == []
    for body in ({}, {"query": ""}, {"query": "x", "limit": 0}, {"query": "x", "scope": "x"}):
        assert reason(await alice.post(f"{PATH}/search", json=body)) == (422, "invalid_request")


async def test_everybody_may_read_what_is_kept_for_all_but_not_whose_it_is(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await say(alice, "The office opens at nine", agent="wide", user_id="ann")
    found = good(await bob.post("/agents/wide/memories/search", json={"query": "when does the office open"}))
    hit = next(one for one in found["hits"] if one["text"] == "The office opens at nine")
    assert [hit[name] for name in ("user_id", "session_id", "turn_id", "message_id", "speaker")] == [None] * 5
    assert "ann" not in str(found)
    assert await listed(bob, agent="wide") == []
    assert reason(await bob.get(f"/agents/wide/memories/{hit['memory_id']}")) == (404, "memory_not_found")


async def test_an_edit_keeps_what_stood_there_and_a_pin_is_no_edit(alice: httpx.AsyncClient) -> None:
    path = f"{PATH}/{(await add(alice, 'My dog is Rex'))['memory_id']}"
    pinned = good(await alice.patch(path, json={"pinned": True}))
    assert (pinned["pinned"], pinned["version"], pinned["versions"]) == (True, 1, [])
    good(await alice.patch(path, json={"text": "My dog is Fido"}))
    good(await alice.patch(path, json={"text": "My dog is Bello", "pinned": False}))
    found = good(await alice.get(path))
    assert (found["text"], found["version"], found["pinned"]) == ("My dog is Bello", 3, False)
    assert [(one["version"], one["text"]) for one in found["versions"]] == [(1, "My dog is Rex"), (2, "My dog is Fido")]
    assert await search(alice, "Rex") == []
    assert good(await alice.patch(path, json={}))["version"] == 3
    assert reason(await alice.patch(path, json={"text": ""})) == (422, "invalid_request")
    assert reason(await alice.patch(path, json={"text": "x" * 1001})) == (413, "too_large")


async def test_a_deleted_memory_is_gone_and_says_what_went(alice: httpx.AsyncClient) -> None:
    path = f"{PATH}/{(await add(alice, 'My dog is Rex'))['memory_id']}"
    good(await alice.patch(path, json={"text": "My dog is Fido"}))
    assert good(await alice.delete(path))["removed"] == {"memories": 1, "versions": 1, "vectors": 0}
    for answer in (await alice.get(path), await alice.delete(path), await alice.patch(path, json={"pinned": True})):
        assert reason(answer) == (404, "memory_not_found")
    assert await search(alice, "dog") == []


async def test_somebody_elses_memory_is_unknown_word_for_word(
    runtime: Runtime, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    memory_id = (await add(alice, "secret", user_id="ann"))["memory_id"]
    her_key = alice.headers["Authorization"].removeprefix("Bearer key-of-")
    for stranger in (bob, client_of(runtime, her_key, **{"X-User-Id": "ben"})):
        for method in ("GET", "PATCH", "DELETE"):
            theirs = await stranger.request(method, f"{PATH}/{memory_id}", json={"text": "taken over"})
            unknown = await stranger.request(method, f"{PATH}/memory_unknown", json={"text": "taken over"})
            assert reason(theirs) == (404, "memory_not_found")
            assert words(theirs, memory_id) == words(unknown, "memory_unknown")
        assert await listed(stranger) == []
        assert await search(stranger, "secret") == []
        assert (await stranger.get(f"{PATH}/export")).content == b""
    assert await listed(alice) == ["secret"]


def words(answer: httpx.Response, memory_id: str) -> str:
    error = answer.json()["error"]
    error.pop("request_id")
    return str(error).replace(memory_id, "…")


async def test_somebody_elses_session_cannot_be_searched_or_written_to(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    session_id = await say(alice, "secret")
    for path, body in (("", {"text": "mine"}), ("/search", {"query": "secret"})):
        refused = await bob.post(PATH + path, json={**body, "session_id": session_id})
        assert reason(refused) == (404, "session_not_found")


async def test_an_agent_without_long_term_memory_says_how_to_switch_it_on(alice: httpx.AsyncClient) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("POST", "/search"), ("GET", "/export"), ("GET", "/memory_x")):
        refused = await alice.request(method, f"/agents/forgetful/memories{path}", json={"text": "x", "query": "x"})
        assert reason(refused) == (409, "memory_off")
        assert "agents.forgetful.memory.longterm" in refused.json()["error"]["message"]
    assert reason(await alice.delete("/agents/forgetful/memories/memory_x")) == (404, "memory_not_found")
    assert reason(await alice.get("/agents/nobody/memories")) == (404, "agent_not_found")


# -- export and import --------------------------------------------------------------------------------------------


async def exported(client: httpx.AsyncClient, query: str = "", *, agent: str = "assistant") -> bytes:
    answer = await client.get(f"/agents/{agent}/memories/export{query}")
    assert answer.status_code == 200
    return answer.content


async def bring(client: httpx.AsyncClient, lines: bytes, *, agent: str = "assistant") -> dict[str, Any]:
    return good(await client.post(f"/agents/{agent}/memories/import", content=lines))


async def test_an_export_is_taken_in_by_another_caller_and_twice_is_once(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await say(alice, "My cat is called Pixel", user_id="ann")
    note = await add(alice, "tea", user_id="ann", pinned=True)
    good(await alice.patch(f"{PATH}/{note['memory_id']}", json={"text": "jasmine tea"}))
    lines = await exported(alice)
    assert [json.loads(line)["text"] for line in lines.splitlines()][::2] == ["My cat is called Pixel", "jasmine tea"]
    assert await bring(bob, lines) == {"imported": 3, "left_out": 0}
    assert await bring(bob, lines) == {"imported": 0, "left_out": 3}
    assert await bring(alice, lines) == {"imported": 0, "left_out": 3}
    theirs = good(await bob.get(PATH))["memories"]
    mine = good(await alice.get(PATH))["memories"]
    assert not {one["memory_id"] for one in theirs} & {one["memory_id"] for one in mine}
    kept = ("text", "kind", "role", "speaker", "user_id", "created_at", "version", "pinned", "message_id")
    assert [[one[name] for name in kept] for one in theirs] == [[one[name] for name in kept] for one in mine]
    assert {one["session_id"] for one in theirs} == {None}
    edited = good(await bob.get(f"{PATH}/{theirs[0]['memory_id']}"))
    assert [one["text"] for one in edited["versions"]] == ["tea"]
    found = good(await bob.post(f"{PATH}/search", json={"query": "cat Pixel", "limit": 1}))
    assert found["hits"][0]["after"] is not None  # what was said in a row stays in a row


async def test_an_import_gives_back_what_was_deleted(alice: httpx.AsyncClient) -> None:
    session_id = await say(alice, "My cat is called Pixel")
    await say(alice, "It rains")
    lines = await exported(alice, f"?session_id={session_id}")
    before = good(await alice.get(f"{PATH}?session_id={session_id}"))["memories"]
    for one in before:
        good(await alice.delete(f"{PATH}/{one['memory_id']}"))
    assert await bring(alice, lines) == {"imported": 2, "left_out": 0}
    assert good(await alice.get(f"{PATH}?session_id={session_id}"))["memories"] == before


async def test_an_import_never_shows_more_than_the_configuration_allows(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    session_id = await say(alice, "for everybody", agent="wide")
    lines = await exported(alice, agent="wide")
    assert (await bring(alice, lines))["imported"] == 2
    assert {one["scope"] for one in good(await alice.get(PATH))["memories"]} == {"conversational"}
    assert await bring(alice, lines, agent="summing") == {"imported": 0, "left_out": 2}
    # Into somebody else's session nothing is put, whatever the lines say.
    hers = json.dumps({"text": "I am the boss", "session_id": await say(alice, "Hi", agent="narrow")}).encode()
    assert await bring(bob, hers, agent="narrow") == {"imported": 0, "left_out": 1}
    assert (await bring(bob, hers))["imported"] == 1
    assert "I am the boss" not in await search(alice, "boss", session_id=await say(alice, "Hi"))
    assert session_id not in str(good(await alice.get(PATH)))


async def test_a_line_that_is_wrong_is_named_and_nothing_is_stored(alice: httpx.AsyncClient) -> None:
    for line, status in ((b'{"text": ""}', 422), (b"no json", 400), (b'{"text": "x", "kind": "x"}', 422)):
        refused = await alice.post(f"{PATH}/import", content=b'{"text": "good"}\n\n' + line)
        assert refused.status_code == status
        assert refused.json()["error"]["message"].startswith("line 3: ")
    assert await listed(alice) == []
    assert await bring(alice, b"") == {"imported": 0, "left_out": 0}


# -- embedding anew -----------------------------------------------------------------------------------------------


async def test_without_an_embedder_there_is_nothing_to_embed_anew(alice: httpx.AsyncClient) -> None:
    assert reason(await alice.post(f"{PATH}/reindex")) == (409, "memory_off")


async def test_another_embedder_embeds_anew(runtime: Runtime, alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    def use(embedder: HashEmbedder) -> LongTermMemory:
        found = LongTermMemory(runtime._durable, new_id=lambda kind: kind, clock_ms=lambda: 0, embedder=embedder)
        runtime.memories._memory = found
        return found

    old, new = HashEmbedder(), HashEmbedder()
    new.model = "another"
    await add(alice, "jasmine tea")
    await add(bob, "jasmine tea")
    before = runtime.memories._memory
    await use(old).embed_pending()
    memory = use(new)
    found = good(await alice.post(f"{PATH}/reindex"))
    assert found == {"model": "another", "memories": 1, "embedded": 0, "waiting": 1}
    assert await memory.embed_pending() >= 2
    assert good(await alice.post(f"{PATH}/reindex"))["embedded"] == 1
    again = good(await alice.post(f"{PATH}/reindex", json={"again": True}))
    assert again["waiting"] == 1
    assert await memory.embed_pending() == 1
    await memory.close()
    runtime.memories._memory = before
