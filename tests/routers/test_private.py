"""What every answer says to browsers and caches, and what the server does not say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.config.root import Config
from app.llm.scripted import ScriptedLLM
from app.main import create_app
from app.runtime import Runtime
from tests.fixtures.talk import good, reason

SESSIONS = "/agents/assistant/sessions"
PRIVATE = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runtime(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runtime]:
    config = Config.model_validate(
        {
            "storage": {"url": f"sqlite:///{tmp_path_factory.mktemp('private')}/h.db"},
            "server": {"cors_origins": ["*"]},
            "llms": {"demo": {"type": "scripted"}},
            "embedders": {"default": {"type": "none"}},
            "agents": {"assistant": {"memory": {"longterm": {"storage_scope": "conversational"}}}},
        }
    )
    opened = Runtime(config, llms={"demo": ScriptedLLM("demo")})
    await opened.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(runtime), client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", follow_redirects=False) as opened:
        yield opened


pytestmark = pytest.mark.asyncio(loop_scope="module")


def said(response: httpx.Response) -> dict[str, Any]:
    return {name: response.headers.get(name) for name in PRIVATE}


async def test_every_answer_is_for_its_caller_alone(client: httpx.AsyncClient) -> None:
    made = await client.post(SESSIONS)
    path = f"{SESSIONS}/{good(made)['session_id']}"
    answers = [
        made,
        await client.post(f"{path}/messages", json={"message": "Hello"}),
        await client.post(f"{path}/messages", json={}),
        await client.put(f"{path}/messages"),
        await client.post(f"{path}/end"),
        await client.get(f"{path}/messages/stream"),
    ]
    paths = (
        "/agents", "/health", "/ready", "/metrics", "/openapi.json", "/nothing", "/usage", path, f"{path}/messages",
        f"{path}/events", f"{path}/export", f"{path}/export?format=markdown", "/agents/assistant/memories/export",
        "/agents/nobody",
    )  # fmt: skip
    answers += [await client.get(address) for address in paths]
    told = {str(answer.request.url): said(answer) for answer in answers}
    assert {url: headers for url, headers in told.items() if headers != PRIVATE} == {}
    assert {answer.status_code for answer in answers} == {200, 201, 204, 404, 405, 422}


async def test_a_stream_is_no_page_either(client: httpx.AsyncClient) -> None:
    streamed = await client.post("/agents/assistant/messages/stream", json={"message": "Hello"})
    assert said(streamed) == PRIVATE | {"cache-control": "no-cache"}


@pytest.mark.parametrize("origin", ["null", "NULL"])
async def test_a_star_of_cors_leaves_out_who_has_no_name(client: httpx.AsyncClient, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for response in (await client.get("/agents", headers=asked), await client.options("/agents", headers=asked)):
        assert [name for name in response.headers if name.startswith("access-control")] == []
    asked["Origin"] = "https://any.example"
    for response in (await client.get("/agents", headers=asked), await client.options("/agents", headers=asked)):
        assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/page", "/page/", "/docs/", "/agents/", "/nothing/", "//page//"])
async def test_no_address_leads_to_itself(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code in (200, 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/agents", {"GET"}),
        ("PUT", f"{SESSIONS}/s", {"GET", "PATCH", "DELETE"}),
        ("DELETE", f"{SESSIONS}/s/messages/stream", {"GET", "HEAD", "POST"}),
        ("DELETE", f"{SESSIONS}/s/messages", {"GET", "POST"}),
        ("POST", "/", {"GET", "HEAD"}),
        ("POST", "/openapi.json", {"GET", "HEAD"}),
        ("PUT", "/page/app.js", {"GET", "HEAD"}),
        ("POST", "/docs", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    client: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    response = await client.request(method, path)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) >= allowed


async def test_a_server_that_is_late_takes_no_new_turns(
    client: httpx.AsyncClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = good(await client.post(SESSIONS))["session_id"]
    hello = {"message": "Hello"}
    monkeypatch.setattr(runtime.lag, "seconds", runtime.lag.limit_seconds * 1.01)
    for path in (f"{SESSIONS}/{session_id}/messages", f"{SESSIONS}/{session_id}/messages/stream",
                 "/agents/assistant/messages", "/agents/assistant/messages/stream"):  # fmt: skip
        refused = await client.post(path, json=hello)
        assert reason(refused) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
    assert (await client.get("/health")).status_code == 200
    assert "hector_loop_lag_seconds" in (await client.get("/metrics")).text
    monkeypatch.setattr(runtime.lag, "seconds", 0.0)
    good(await client.post(f"{SESSIONS}/{session_id}/messages", json=hello))
