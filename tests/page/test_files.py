"""The page's files over HTTP: open, cached, and under a strict policy."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from app.page.routes import CHAT, DOCS
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="package")
FOLDERS = {"/page": CHAT, "/docs": DOCS}
FILES = sorted(
    f"{address}/{path.relative_to(folder)}"
    for address, folder in FOLDERS.items()
    for path in folder.rglob("*")
    if path.is_file()
)


async def test_the_page_needs_no_key_but_what_it_asks_for_does(tmp_path: Path) -> None:
    server = HectorServer(tmp_path, {"auth": {"keys": {"alice": "secret"}}, "llms": {"demo": {"type": "scripted"}}})
    await server.start()
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
        page, file, agents = [(await client.get(path)).status_code for path in ("/", "/page/app.js", "/agents")]
        docs = [(await client.get(path)).status_code for path in ("/openapi.json", "/docs", "/docs/docs.js")]
    await server.close()

    assert (page, file, agents) == (200, 200, 401)
    assert docs == [200, 200, 200]  # the caller is on this machine


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_nothing_inline_and_nothing_from_elsewhere_may_run(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)

    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "://" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", response.text)


async def test_an_unchanged_file_is_not_sent_twice(client: httpx.AsyncClient) -> None:
    first = await client.get("/page/app.js")
    second = await client.get("/page/app.js", headers={"If-None-Match": first.headers["etag"]})

    assert (first.headers["cache-control"], second.status_code, second.content) == ("no-cache", 304, b"")


@pytest.mark.parametrize(
    "path", ["/page/../routes.py", "/page/%2e%2e/routes.py", "/page/nothing.js", "/page/vendor", "/docs/nothing.js"]
)
async def test_other_files_are_not_served(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".js", ".css"))])
async def test_every_module_is_served_as_what_it_is(client: httpx.AsyncClient, name: str) -> None:
    kind = (await client.get(name)).headers["content-type"].partition(";")[0]

    assert kind == ("text/css" if name.endswith(".css") else "text/javascript")


@pytest.mark.parametrize(("address", "count"), [("/page", 3), ("/docs", 1)])
async def test_every_vendored_library_has_its_licence_and_version(address: str, count: int) -> None:
    libraries = [name.removesuffix(".js") for name in FILES if re.fullmatch(rf"{address}/vendor/[\w-]+\.js", name)]
    table = (FOLDERS[address] / "vendor" / "README.md").read_text(encoding="utf-8")

    assert len(libraries) == count
    assert [name for name in libraries if f"{name}.LICENSE" not in FILES] == []
    for name in libraries:
        assert re.search(rf"`{name.rpartition('/')[2]}\.js` \| `[^`]+` \| \d+\.\d+", table), name
