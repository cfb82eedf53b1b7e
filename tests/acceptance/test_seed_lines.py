"""The lines that the documentation of sessions and streaming shows, and the slips people make with them."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.server import HectorServer
from tests.fixtures.sse import open_stream, text_of, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SESSIONS = "/agents/assistant/sessions"


async def test_a_session_is_created_as_the_documentation_says(client: httpx.AsyncClient) -> None:
    response = await client.post(SESSIONS, headers=JSON)
    assert response.status_code == 201
    created = response.json()
    assert created["session_id"].startswith("sess_")
    assert (created["agent"], created["status"], created["expires_at"]) == ("assistant", "active", None)
    assert created["created_at"]


@pytest.mark.parametrize("headers", [{}, JSON, FORM, {"Content-Type": "text/plain"}])
@pytest.mark.parametrize("body", ["", "{}", "null", "  \n"])
async def test_no_options_can_be_said_in_every_way(
    client: httpx.AsyncClient, headers: dict[str, str], body: str
) -> None:
    created = good(await client.post(SESSIONS, headers=headers, content=body))
    assert created["message_count"] == 0


@pytest.mark.parametrize("headers", [{}, JSON, FORM, {"Content-Type": "text/plain"}])
async def test_a_message_is_json_whatever_the_content_type_says(
    client: httpx.AsyncClient, upstream: Upstream, headers: dict[str, str]
) -> None:
    talk = await Talk.begin(client)
    body = '{\n"message": "Hello, remember me?"\n}'
    said = good(await client.post(f"{talk.path}/messages", headers=headers, content=body))
    assert said["response"] == " t0 t1 t2"
    assert said["session_id"] == talk.session_id
    assert said["turn_id"]
    assert said["message_id"]
    assert said["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "source": "provider",
    }
    assert said["timings"]["total_ms"] >= said["timings"]["first_token_ms"] > 0


@pytest.mark.parametrize("headers", [{}, JSON, FORM])
async def test_a_stream_is_read_as_by_curl(
    client: httpx.AsyncClient, upstream: Upstream, headers: dict[str, str]
) -> None:
    talk = await Talk.begin(client)
    response = await client.post(f"{talk.path}/messages/stream", headers=headers, content='{"message": "Hello"}')
    lines = [line for line in response.text.split("\n") if line.startswith("data:")]
    assert 'data: {"chunk": " t0"}' in lines
    assert lines[-1] == "data: [DONE]"


async def test_an_address_with_a_slash_too_many_still_creates_a_session(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{SESSIONS}/", headers=JSON, follow_redirects=True)
    assert good(response)["session_id"]


async def test_a_message_without_a_session_is_streamed_and_names_its_session(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    body = {"message": "Explain quantum computing"}
    async with open_stream(client, "POST", "/agents/assistant/messages/stream", json=body) as stream:
        frames = await stream.rest()
        session_id = stream.response.headers["x-session-id"]
    assert types_of(frames) == ["turn_started", "text", "turn_finished", "done"]
    assert text_of(frames) == " t0 t1 t2"
    assert frames[0].json["session_id"] == session_id


async def test_a_message_without_a_session_is_answered_and_its_session_is_readable_but_not_listed(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    response = await client.post("/agents/assistant/messages", json={"message": "Hello"})
    assert good(response)["response"] == " t0 t1 t2"
    session_id = response.headers["x-session-id"]
    assert session_id == response.json()["session_id"]
    talk = Talk(client, session_id)
    assert (await talk.info())["ephemeral"] is True
    assert await talk.texts() == ["Hello", " t0 t1 t2"]
    listed = good(await client.get(f"{SESSIONS}?limit=200"))["sessions"]
    assert session_id not in [session["session_id"] for session in listed]


async def test_a_session_is_listed_shown_and_deleted(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client)
    newest = good(await client.get(SESSIONS))["sessions"][0]
    assert newest["session_id"] == talk.session_id
    shown = await talk.info()
    assert (shown["session_id"], shown["status"], shown["turn"]) == (talk.session_id, "active", None)
    assert (await talk.terminate())["status"] == "terminated"
    assert reason(await client.get(talk.path)) == (410, "session_terminated")
    assert reason(await talk.post("Still there?")) == (410, "session_terminated")


async def test_the_list_pages_through_every_session_once(client: httpx.AsyncClient) -> None:
    made = [(await Talk.begin(client)).session_id for _ in range(5)]
    found: list[str] = []
    cursor = ""
    while True:
        page = good(await client.get(f"{SESSIONS}?limit=2{cursor}"))
        found += [session["session_id"] for session in page["sessions"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found[:5] == made[::-1]
    assert len(found) == len(set(found))


async def test_a_chosen_id_names_the_same_session_again(client: httpx.AsyncClient) -> None:
    first = await client.post(SESSIONS, json={"session_id": "my-own:1", "title": "One"})
    second = await client.post(SESSIONS, json={"session_id": "my-own:1", "title": "Two"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["title"] == "One"
    refused = await client.post(SESSIONS, json={"session_id": "white space"})
    assert reason(refused) == (422, "invalid_request")


async def test_title_and_metadata_are_set_and_changed(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client, title="First", metadata={"a": 1})
    changed = good(await client.patch(talk.path, json={"title": "Second"}))
    assert (changed["title"], changed["metadata"]) == ("Second", {"a": 1})


@pytest.mark.parametrize("message", ["Grüße 👋", 'a\nb\t"c" \\ \u2028 {', " a ", "𝕏" * 500])
async def test_every_text_comes_through_unchanged(client: httpx.AsyncClient, upstream: Upstream, message: str) -> None:
    talk = await Talk.begin(client)
    upstream.default = Reply(tokens=[message, "é", "\\", '"', "\n\n", "data: x"])  # the model's context is asked first
    frames = await talk.stream_all(message)
    assert text_of(frames) == message + 'é\\"\n\ndata: x'
    assert frames[0].json["message"] == message
    assert await talk.texts() == [message, message + 'é\\"\n\ndata: x']
    assert upstream.requests[-1].json["messages"][-1]["content"] == message


async def test_unknown_names_are_404_and_never_a_stream(client: httpx.AsyncClient, server: HectorServer) -> None:
    body = {"message": "Hello"}
    for path in (f"{SESSIONS}/sess_nope/messages/stream", f"{SESSIONS}/sess_nope/messages"):
        assert reason(await client.post(path, json=body)) == (404, "session_not_found")
    assert reason(await client.get(f"{SESSIONS}/sess_nope")) == (404, "session_not_found")
    for path in ("sessions", "messages", "messages/stream"):
        refused = await client.post(f"/agents/nobody/{path}", json=body)
        assert reason(refused) == (404, "agent_not_found")
    assert reason(await client.get("/nothing/here")) == (404, "not_found")
