"""The access log: a line for each request, and no key, ticket, query or text in any."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "key-of-alice-00000"
SECRET_WORDS = "purple-elephants"
FILE = "logs/access.log"
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "300ms"},
    "embedders": {"default": {"type": "none"}},
    "auth": {"keys": {"alice": KEY}},
    "llms": {"demo": {"type": "scripted", "script": ["Noted."]}},
    "agents": {"assistant": {}},
}


async def serve(folder: Path, logging: dict[str, Any]) -> HectorServer:
    (folder / "logs").mkdir()
    server = HectorServer(folder, {**SETTINGS, "logging": logging}, is_alone=True)
    await server.start()
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    started = await serve(Path(tmp_path_factory.mktemp("access")), {"access": FILE, "format": "json"})
    yield started
    await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def alice(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=15, trust_env=False) as client:
        yield client


class AccessLog:
    """What is written from the beginning of a test on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._begin = len(self._text)

    @property
    def _text(self) -> str:
        return self.path.read_text() if self.path.exists() else ""

    @property
    def text(self) -> str:
        return self._text[self._begin :]

    async def lines(self, count: int) -> list[dict[str, Any]]:
        """Once there are so many: a line is written behind its answer."""

        async def are_there() -> bool:
            return self.text.count("\n") >= count

        await eventually(are_there)
        return [json.loads(line) for line in self.text.splitlines()]

    def move_away(self) -> None:
        self.path.rename(self.path.with_suffix(".1"))
        self._begin = 0


@pytest.fixture
def access_log(server: HectorServer) -> AccessLog:
    return AccessLog(server.folder)


async def test_a_line_tells_who_asked_for_what_and_how_it_went(access_log: AccessLog, alice: httpx.AsyncClient) -> None:
    talk = await Talk.begin(alice)
    answered = await alice.post(f"{talk.path}/messages", json={"message": SECRET_WORDS})
    good(answered)

    [_, line] = await access_log.lines(2)

    assert line.pop("time").endswith("+00:00")
    assert 0 < line.pop("ms") < 15_000
    assert line == {
        "client": "127.0.0.1",
        "principal": "alice",
        "method": "POST",
        "path": f"{talk.path}/messages",
        "route": "/agents/{agent}/sessions/{session_id}/messages",
        "status": 200,
        "bytes": len(answered.content),
        "request_id": line["request_id"],
    }
    assert re.fullmatch("req_[0-9a-f]{16}", line["request_id"])


async def test_a_stream_is_written_when_it_is_over_with_the_time_it_was_open(
    access_log: AccessLog, alice: httpx.AsyncClient
) -> None:
    talk = await Talk.begin(alice)
    async with talk.follow():
        await access_log.lines(1)
    [_, line] = await access_log.lines(2)
    assert (line["status"], line["method"], "bytes" in line) == (200, "GET", False)


async def test_nothing_secret_is_in_any_line(
    server: HectorServer, access_log: AccessLog, alice: httpx.AsyncClient
) -> None:
    talk = await Talk.begin(alice)
    ticket = good(await alice.post(f"{talk.path}/tickets"))["ticket"]
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as browser:
        async with browser.stream("GET", f"{talk.path}/messages/stream?ticket={ticket}") as stream:
            assert stream.status_code == 200
        spoilt = f"{talk.path}/messages/stream?ticket={ticket}&ticket={ticket}"
        assert (await browser.get(spoilt)).status_code == 401
        assert (await browser.get("/agents", params={"token": KEY})).status_code == 401
        assert (await browser.get("/agents", headers={"Authorization": "Bearer wrong-key"})).status_code == 401
    await alice.get("/agents/assistant/sessions", params={"user_id": SECRET_WORDS})
    await alice.post(f"{talk.path}/messages", json={"message": SECRET_WORDS})
    address = f"{server.base_url}/agents/assistant/stream?ticket={ticket}".replace("http", "ws", 1)
    async with websockets.connect(address):
        pass

    found = await access_log.lines(9)

    assert sorted([line["status"] for line in found]) == [101, 200, 200, 200, 201, 201, 401, 401, 401]
    assert [line.get("principal") for line in found if line["status"] == 401] == [None] * 3
    for secret in (ticket, KEY, "wrong-key", SECRET_WORDS, "?", "Noted"):
        assert secret not in access_log.text, secret


async def test_a_request_that_is_refused_before_it_is_read_has_a_line(
    server: HectorServer, access_log: AccessLog
) -> None:
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
        assert (await client.get("/agents", headers={"x-long": "x" * 100_000})).status_code == 431
    [line] = await access_log.lines(1)
    assert (line["status"], line["client"], line["route"]) == (431, "127.0.0.1", "other")


async def test_a_file_that_logrotate_moves_away_is_made_again(access_log: AccessLog, alice: httpx.AsyncClient) -> None:
    await alice.get("/agents")
    await access_log.lines(1)
    access_log.move_away()
    await alice.get("/agents/assistant")
    assert [line["path"] for line in await access_log.lines(1)] == ["/agents/assistant"]
    assert access_log.path.stat().st_mode & 0o077 == 0


async def test_a_line_of_text_cannot_be_forged(tmp_path: Path) -> None:
    server = await serve(tmp_path, {"access": FILE, "format": "text"})
    try:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            await client.get("/agents/a%0Aforged%E2%80%AE")

        path = tmp_path / FILE

        async def is_there() -> bool:
            return path.exists() and path.read_text().endswith("\n")

        await eventually(is_there)
        time, request = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "GET /agents/a%0Aforged%E2%80%AE"
        line = rf"{time} 127\.0\.0\.1 - {request} 401 [\d.e-]+ ms \d+ B req_\w+\n"
        assert re.fullmatch(line, path.read_text())
    finally:
        await server.close()


async def test_there_is_none_unless_it_is_asked_for(tmp_path: Path) -> None:
    server = await serve(tmp_path, {"access": False})
    try:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            await client.get("/health")
        assert list((tmp_path / "logs").iterdir()) == []
        assert "/health" not in server.log_text
    finally:
        await server.close()
