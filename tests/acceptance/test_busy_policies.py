"""What the configuration says about a second message, where the message itself says nothing."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.talk import Talk, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"sessions": {"on_busy": "reject", "max_per_user": 3}}


async def test_a_server_may_refuse_every_second_message(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, user_id="refused")
    upstream.answer(tokens=2, hang="after_tokens")
    await talk.start("first")
    await upstream.wait_for(requests=1)
    assert reason(await talk.post("second")) == (409, "session_busy")
    queued = await talk.start("third", on_busy="queue")
    await talk.cancel()
    assert (await talk.finished(queued))["status"] == "completed"


async def test_a_user_may_have_only_so_many_sessions(client: httpx.AsyncClient) -> None:
    talks = [await Talk.begin(client, user_id="greedy") for _ in range(3)]
    refused = await client.post("/agents/assistant/sessions", json={"user_id": "greedy"})
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "RESOURCE_EXHAUSTED"
    await talks[0].end()
    await Talk.begin(client, user_id="greedy")
    await Talk.begin(client, user_id="somebody else")
