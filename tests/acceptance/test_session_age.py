"""A session may only become so old, however busy it is."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.talk import Talk, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"sessions": {"max_duration": "1s"}}


async def test_a_session_expires_at_its_age_although_it_is_used(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    expires_at = (await talk.info())["expires_at"]

    async def is_refused() -> bool:
        response = await talk.post("Hello")
        if response.status_code == 200:
            assert (await talk.info())["expires_at"] in (expires_at, None)
            return False
        assert reason(response) == (410, "session_expired")
        return True

    await eventually(is_refused, within=4, every=0.1)
    info = await talk.info()
    assert (info["status"], info["message_count"]) == ("expired", len(await talk.messages()))


async def test_an_answer_under_way_at_that_moment_is_finished_first(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=["one", " two", " three"], delay=0.7)
    said = await talk.say("Hello")
    assert said["response"] == "one two three"
    assert (await talk.info())["status"] == "expired"
