"""The front end of the documentation against a server with keys: its page has a ticket, and no key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright

from tests.acceptance.conftest import settings_for
from tests.fixtures.front_end import open_front_end, serve_page, wait_for_chat
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good
from tests.fixtures.upstream import Upstream
from tests.page.browsing import CHROMIUM, FLAGS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.browser]

KEY = "a-key-that-no-page-has"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin() -> AsyncIterator[str]:
    async with serve_page() as origin:
        yield origin


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(
    provider: Upstream, origin: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HectorServer]:
    changes = {
        "agents": {"chatbot": {}},
        "auth": {"keys": {"shop": KEY}},
        "server": {"cors_origins": [origin], "shutdown_grace": "3s"},
        "logging": {"level": "debug"},
    }
    server = HectorServer(tmp_path_factory.mktemp("hector"), settings_for(provider, changes))
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def backend(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    """The program that has the key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield await browser.new_page()
        await browser.close()


async def test_a_page_with_a_ticket_shows_every_answer_until_the_session_is_terminated(
    page: Page, origin: str, backend: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(backend, agent="chatbot", user_id="Jürgen")
    ticket = good(await backend.post(f"{talk.path}/tickets", json={"ttl": "1h"}))["ticket"]
    await open_front_end(page, origin, talk, query=f"?ticket={ticket}")
    upstream.answer(tokens=["The", " first", " answer."])
    upstream.answer(tokens=[" The", " second."])
    await talk.start("one")
    await wait_for_chat(page, "The first answer.")
    assert await server.stop() == 0
    await server.start()
    await talk.start("two")
    await wait_for_chat(page, "The first answer. The second.")
    assert await page.evaluate("opened") == 2
    await talk.terminate()
    await page.wait_for_function("eventSource.readyState === 2")
    await wait_for_chat(page, "The first answer. The second.")
    assert ticket not in server.log_text
