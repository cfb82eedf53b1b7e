"""Behind nginx, as it comes and as deploy/ has it: streams flow, silence is survived, addresses are the client's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.fixtures.nginx import Nginx
from tests.fixtures.server import ROOT, HectorServer
from tests.fixtures.sse import open_stream, text_of, types_of
from tests.fixtures.talk import Talk, good
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME, PREFIX = "www.example", "/hector"
SETTINGS = {
    "server": {"shutdown_grace": "300ms", "public_url": f"https://{NAME}{PREFIX}", "trusted_proxies": ["127.0.0.1"]},
    "auth": {"keys": {"alice": "key-of-alice"}},
}
KEY = {"Authorization": "Bearer key-of-alice"}
DEFAULTS = "server { listen 127.0.0.1:{port}; location / { proxy_pass http://127.0.0.1:{server}; } }"
TAKES_PREFIX_OFF = "server { listen 127.0.0.1:{port}; location /hector/ { proxy_pass http://127.0.0.1:{server}/; } }"


def shipped(name: str) -> str:
    """A file of deploy/ with the ports of the test."""
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    return text.replace("listen 80;", "listen 127.0.0.1:{port};").replace("127.0.0.1:8080", "127.0.0.1:{server}")


@asynccontextmanager
async def behind(
    sites: str, server: HectorServer, folder: Path, *, path: str = "", address: str | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that comes through nginx, from another of this machine's addresses if asked."""
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with (
        Nginx(folder, sites.replace("{server}", str(server.port))) as nginx,
        httpx.AsyncClient(base_url=nginx.base_url + path, headers=KEY, timeout=40, transport=transport) as client,
    ):
        yield client


@pytest.mark.parametrize("sites", [DEFAULTS, shipped("nginx.conf")], ids=["defaults", "deploy"])
async def test_tokens_arrive_one_by_one(sites: str, server: HectorServer, upstream: Upstream, tmp_path: Path) -> None:
    async with behind(sites, server, tmp_path) as client:
        talk = await Talk.begin(client)
        upstream.answer(tokens=20, delay=0.05)
        async with talk.stream("Hello") as stream:
            times = [time.monotonic() async for frame in stream if frame.type == "text"]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 20
    assert len([gap for gap in gaps if gap > 0.02]) >= 16  # all at once, every gap would be next to nothing
    assert types_of(stream.frames)[-2:] == ["turn_finished", "done"]


async def test_silence_that_is_longer_than_the_proxys_patience_is_survived(
    server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    sites = DEFAULTS.replace("location", "proxy_read_timeout 18s; location")
    async with behind(sites, server, tmp_path) as client:
        talk = await Talk.begin(client)
        upstream.answer(tokens=["before", " after"], delay=25)
        begin = time.monotonic()
        async with talk.stream("Hello") as posted, talk.follow() as watching:
            await posted.rest()
            await watching.until("done")
    assert time.monotonic() - begin > 24
    assert text_of(posted.frames) == text_of(watching.frames) == "before after"
    assert [comment for comment in posted.comments if comment.startswith("heartbeat")]


async def test_a_stop_of_the_server_reaches_the_reader_behind_the_proxy(
    server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    async with behind(DEFAULTS, server, tmp_path) as client:
        talk = await Talk.begin(client)
        upstream.answer(tokens=5, hang="after_tokens")
        async with talk.stream("Hello") as stream:
            await stream.take(5)
            server.ask_to_stop()
            assert (await stream.rest())[-1].type == "reconnect"
        assert await server.ended() == 0
        await server.start()
        async with talk.follow("?until=turn_end", last_id=stream.cursor) as later:
            frames = await later.rest()
    assert [frame.json["status"] for frame in frames if frame.type == "turn_finished"] == ["interrupted"]


async def test_a_reader_that_leaves_the_proxy_leaves_the_server(
    server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    async with behind(DEFAULTS, server, tmp_path) as client:
        upstream.answer(tokens=5, hang="after_tokens")
        path = "/agents/assistant/messages/stream"
        async with open_stream(client, "POST", path, json={"message": "Hello"}) as stream:
            await stream.take(5)
        await upstream.wait_for(aborts=1)  # a one-shot without a reader stops at once


async def address_seen(server: HectorServer, client: httpx.AsyncClient, **headers: str) -> str:
    """The address that the server's log has for a request without a key."""
    since = len(server.log)
    refused = await client.get("/agents", headers={"Authorization": "Bearer wrong"} | headers)
    assert refused.status_code == 401, refused.text
    line = await server.wait_for_log("refused a request from ", since=since)
    return line.partition("refused a request from ")[2].partition(":")[0]


async def test_the_clients_address_is_told_by_a_trusted_proxy(server: HectorServer, tmp_path: Path) -> None:
    async with behind(shipped("nginx.conf"), server, tmp_path, address="127.0.0.7") as client:
        assert await address_seen(server, client) == "127.0.0.7"


async def test_a_client_cannot_choose_its_address(server: HectorServer, tmp_path: Path) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9"}
    async with behind(shipped("nginx.conf"), server, tmp_path, address="127.0.0.7") as client:
        assert await address_seen(server, client, **forged) == "127.0.0.7"
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.8")
    async with httpx.AsyncClient(base_url=server.base_url, transport=transport) as client:
        assert await address_seen(server, client, **forged) == "127.0.0.8"


@pytest.mark.parametrize("sites", [shipped("nginx-prefix.conf"), TAKES_PREFIX_OFF], ids=["kept", "taken-off"])
async def test_everything_works_below_a_path(
    sites: str, server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    async with behind(sites, server, tmp_path, path=PREFIX) as client:
        talk = await Talk.begin(client)
        frames = await talk.stream_all("Hello")
        assert text_of(frames) == " t0 t1 t2"
        assert await talk.texts() == ["Hello", " t0 t1 t2"]
        assert good(await client.get("/ready")) == {"status": "ready"}
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert (await client.get("/page/app.js")).status_code == 200


async def test_a_browser_finds_the_page_below_its_path(server: HectorServer, tmp_path: Path) -> None:
    async with behind(shipped("nginx-prefix.conf"), server, tmp_path) as client:
        moved = await client.get(PREFIX)  # nginx itself: its location ends in a slash
        assert moved.status_code == 301
        assert moved.headers["location"].endswith(f"{PREFIX}/")
        headers = {"Host": NAME, "Origin": f"https://{NAME}"}
        assert (await client.post(f"{PREFIX}/agents/assistant/sessions", headers=headers)).status_code == 201
        strange = headers | {"Origin": "https://evil.example"}
        assert (await client.post(f"{PREFIX}/agents/assistant/sessions", headers=strange)).status_code == 403


async def test_many_readers_behind_the_proxy_get_all_of_it(
    server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    async with behind(shipped("nginx.conf"), server, tmp_path) as client:
        talks = [await Talk.begin(client) for _ in range(20)]
        everything = await asyncio.gather(*[talk.stream_all("Hello") for talk in talks])
    assert {text_of(frames) for frames in everything} == {" t0 t1 t2"}
