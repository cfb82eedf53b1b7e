"""Without keys a user id is a label: it sorts sessions, and keeps out only who names somebody else."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.talk import Talk, good, reason

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_session_belongs_to_the_user_it_was_made_for(client: httpx.AsyncClient) -> None:
    assert (await (await Talk.begin(client)).info())["user_id"] == "local"
    talk = await Talk.begin(client, user_id="ann")
    assert (await talk.info())["user_id"] == "ann"
    by_header = good(await client.post("/agents/assistant/sessions", headers={"X-User-Id": "ben"}))
    assert by_header["user_id"] == "ben"


async def test_the_one_user_of_a_server_without_keys_sees_the_sessions_of_all_names(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client)
    named = await Talk.begin(client, user_id="ann")
    listed = good(await client.get("/agents/assistant/sessions"))["sessions"]
    assert {talk.session_id, named.session_id} <= {session["session_id"] for session in listed}
    refused = await client.get(talk.path, headers={"X-User-Id": "ann"})
    assert reason(refused) == (404, "session_not_found")


async def test_only_who_names_another_user_is_kept_out(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client, user_id="ann")
    for headers in ({}, {"X-User-Id": "ann"}):
        assert (await client.get(talk.path, headers=headers)).status_code == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/messages"), ("GET", "/messages/stream")):
        refused = await client.request(method, talk.path + path, headers={"X-User-Id": "ben"})
        assert reason(refused) == (404, "session_not_found")


async def test_lists_are_filtered_by_user(client: httpx.AsyncClient) -> None:
    talk = await Talk.begin(client, user_id="cleo")
    for options in ({"params": {"user_id": "cleo"}}, {"headers": {"X-User-Id": "cleo"}}):
        listed = good(await client.get("/agents/assistant/sessions", **options))["sessions"]  # type: ignore[arg-type]
        assert [session["session_id"] for session in listed] == [talk.session_id]


@pytest.mark.parametrize("user_id", ["", "x" * 257])
async def test_a_user_id_has_a_sensible_length(client: httpx.AsyncClient, user_id: str) -> None:
    by_header = await client.get("/agents", headers={"X-User-Id": user_id})
    assert reason(by_header) == (422, "invalid_request")
    in_body = await client.post("/agents/assistant/sessions", json={"user_id": user_id})
    assert reason(in_body) == (422, "invalid_request")
