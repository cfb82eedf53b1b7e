"""A path in `server.public_url`: served with it and without it, for proxies that take it off and those that do not."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.auth.authenticate import Authenticator
from app.routers.guard import Guard
from tests.fixtures.keys import plain_keys


async def tell_path(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"{scope['path']} {scope['raw_path'].decode()}")(scope, receive, send)


def client(public_url: str | None, **keys: str) -> httpx.AsyncClient:
    guard: Any = Guard(
        tell_path,
        authenticator=Authenticator(plain_keys(**keys)),
        cors_origins=(),
        allowed_hosts=(),
        public_url=public_url,
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://localhost")


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("/hector/agents", "/agents"),
        ("/hector/agents/", "/agents"),
        ("/agents", "/agents"),
        ("/hector/", "/"),
        ("/", "/"),
        ("/hectors/agents", "/hectors/agents"),
        ("/hector/hector/x", "/hector/x"),
    ],
)
@pytest.mark.parametrize("public_url", ["https://example.com/hector", "https://example.com/hector/"])
async def test_the_path_of_the_public_url_is_taken_off(public_url: str, asked: str, served: str) -> None:
    async with client(public_url) as browser:
        answer = await browser.get(asked)

    assert answer.text.split()[0] == served


@pytest.mark.parametrize("public_url", [None, "https://example.com", "https://example.com/"])
async def test_without_a_path_in_the_public_url_nothing_is_taken_off(public_url: str | None) -> None:
    async with client(public_url) as browser:
        answer = await browser.get("/hector/agents")

    assert answer.text.split()[0] == "/hector/agents"


async def test_the_prefix_alone_leads_to_the_page_where_relative_links_work() -> None:
    async with client("https://example.com/hector") as browser:
        answer = await browser.get("/hector")

    assert (answer.status_code, answer.headers["location"]) == (307, "/hector/")


async def test_behind_a_prefix_the_same_needs_a_key() -> None:
    async with client("https://example.com/hector", alice="secret") as browser:
        refused = await browser.get("/hector/agents")
        ready = await browser.get("/hector/ready")

    assert (refused.status_code, ready.status_code) == (401, 200)


async def test_the_page_of_the_public_url_may_change_things() -> None:
    async with client("https://example.com/hector") as browser:
        origin = {"Origin": "https://example.com", "Host": "example.com"}
        accepted = await browser.post("/hector/agents/a/sessions", headers=origin)

    assert accepted.text.split()[0] == "/agents/a/sessions"
