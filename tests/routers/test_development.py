"""Development mode: a line for each request, and pages of this machine; test_chaos.py has the rest."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.main import create_app
from app.routers.development import Development
from app.runtime import Runtime
from tests.fixtures.talk import good, reason
from tests.routers.conftest import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def developer(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    app: Any = Development(create_app(runtime, accepts_local_pages=True))
    headers = {"Authorization": "Bearer key-of-shared"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers
    ) as client:
        yield client


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:8000", "https://app.localhost"]
)
async def test_pages_of_this_machine_may_do_everything(developer: httpx.AsyncClient, origin: str) -> None:
    page = {"Origin": origin}
    preflight = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = await developer.options("/agents/assistant/sessions", headers=preflight)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin)
    created = await developer.post("/agents/assistant/sessions", headers=page)
    assert (created.status_code, created.headers["access-control-allow-origin"]) == (201, origin)


@pytest.mark.parametrize(
    "origin", ["http://localhost.evil.example", "http://evil.example", "null", "http://localhost:3000@evil.example"]
)
async def test_other_pages_may_not(developer: httpx.AsyncClient, origin: str) -> None:
    refused = await developer.post("/agents/assistant/sessions", headers={"Origin": origin})
    assert reason(refused) == (403, "forbidden_origin")
    assert "access-control-allow-origin" not in refused.headers


async def test_every_request_is_a_line_without_tickets(
    developer: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = good(await developer.post("/agents/assistant/sessions"))["session_id"]
    path = f"/agents/assistant/sessions/{session_id}"
    ticket = good(await developer.post(f"{path}/tickets", json={"can": ["read", "chat"]}))["ticket"]
    caplog.clear()
    with caplog.at_level(logging.INFO, "app.routers.development"):
        url = f"{path}/messages/stream?chaos=slow:0&ticket={ticket}"
        answer = await developer.post(url, json={"message": "Hello"})
        await developer.get("/agents/caf%C3%A9%0Aforged")
    lines = [record.getMessage() for record in caplog.records if record.name == "app.routers.development"]
    assert lines[0].startswith(f"POST {path}/messages/stream?chaos=slow:0 200, ")
    assert lines[0].endswith(f"{len(answer.content)} bytes")
    assert lines[1].startswith("GET /agents/caf")
    assert "\n" not in lines[1]
    assert ticket not in caplog.text.replace("httpx", "")


async def test_without_the_mode_chaos_is_nothing(runtime: Runtime) -> None:
    async with client_of(runtime, "shared") as client:
        answer = await client.post("/agents/assistant/messages/stream?chaos=drop:0", json={"message": "Hello"})
        assert "[DONE]" in answer.text
        refused = await client.post("/agents/assistant/sessions", headers={"Origin": "http://localhost:3000"})
        assert reason(refused) == (403, "forbidden_origin")


async def test_a_dropped_answer_is_resumed_from_where_it_was_cut(developer: httpx.AsyncClient) -> None:
    session_id = good(await developer.post("/agents/assistant/sessions"))["session_id"]
    path = f"/agents/assistant/sessions/{session_id}/messages/stream"
    refused = await developer.post(f"{path}?chaos=explode", json={"message": "Hello"})
    assert reason_of(refused) == (422, "invalid_request")
    whole = await developer.post(path, json={"message": "Hello"})
    assert "[DONE]" in whole.text
    again = await developer.get(f"{path}?after=0&until=turn_end&chaos=slow:0")
    assert '"chunk": "Noted."' in again.text


def reason_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["reason"]
