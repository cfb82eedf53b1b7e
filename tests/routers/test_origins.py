"""Refused pages: told with the line that lets them in, each once in a while."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx
import pytest
from starlette.middleware.cors import ALL_METHODS
from starlette.responses import Response

from app.routers.origins import AGAIN_SECONDS, LOCAL, MOST, NotingCors, RefusedOrigins
from tests.routers.test_guard import ask, guard


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "app.routers.origins"):
        yield caplog


def words(told: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in told.records if record.name == "app.routers.origins"]


def test_the_line_has_the_origins_that_are_let_in_already(told: pytest.LogCaptureFixture) -> None:
    RefusedOrigins(["https://a.example"]).note("https://b.example:8443")
    assert words(told) == [
        "a page of https://b.example:8443 was refused; to let it in: server:"
        ' {cors_origins: ["https://a.example", "https://b.example:8443"]}'
    ]


def test_an_origin_is_told_again_after_a_while(told: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refused = RefusedOrigins([], clock=lambda: now)
    for _ in range(100):
        refused.note("https://b.example")
    assert len(words(told)) == 1
    now = AGAIN_SECONDS
    refused.note("https://b.example")
    assert len(words(told)) == 2


def test_many_origins_are_few_lines(told: pytest.LogCaptureFixture) -> None:
    refused = RefusedOrigins([])
    for number in range(1000):
        refused.note(f"https://b{number}.example")
    assert len(words(told)) == len(refused._told) == MOST


@pytest.mark.parametrize(
    "origin", ["null", "", "https://b.example\nforged", f"https://{'b' * 300}", "file://", "x\x1b[2J"]
)
def test_what_cannot_be_let_in_is_not_told(told: pytest.LogCaptureFixture, origin: str) -> None:
    RefusedOrigins([]).note(origin)
    assert words(told) == []


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_the_guard_tells_what_it_or_the_browser_refuses(told: pytest.LogCaptureFixture, method: str) -> None:
    await ask(guard(), origin="https://b.example", method=method)
    assert len(words(told)) == 1
    await ask(guard(), origin="http://localhost:8080", method=method)
    await ask(guard(cors_origins=["https://b.example"]), origin="https://b.example", method=method)
    assert len(words(told)) == 1


async def test_a_refused_preflight_is_told(told: pytest.LogCaptureFixture) -> None:
    refused = RefusedOrigins(["https://a.example"])
    app = NotingCors(Response(), refused=refused, allow_origins=["https://a.example"], allow_methods=ALL_METHODS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for origin in ("https://a.example", "https://b.example"):
            await client.options("/", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    (line,) = words(told)
    assert "b.example was refused" in line


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://localhost:1",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "http://a.b-c.localhost:3000",
    ],
)
def test_origins_of_this_machine(origin: str) -> None:
    assert LOCAL.fullmatch(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost.evil.example",
        "http://localhost:3000.evil.example",
        "http://a@localhost",
        "http://127.0.0.1.evil",
        "ftp://localhost",
        "http://localhost:3000/",
        "http://localhost:",
        "http://.localhost",
        "http://evil-localhost",
    ],
)
def test_others_are_not(origin: str) -> None:
    assert not LOCAL.fullmatch(origin)
