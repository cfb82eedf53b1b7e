"""The front end of the documentation, as it stands there, in a real browser on a page of another origin."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.acceptance.conftest import settings_for
from tests.fixtures.front_end import open_front_end, serve_page, wait_for_chat
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Reply, Upstream
from tests.page.browsing import CHROMIUM, FLAGS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.browser]


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
        "server": {"cors_origins": [origin], "shutdown_grace": "3s"},
    }
    server = HectorServer(tmp_path_factory.mktemp("hector"), settings_for(provider, changes))
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A tab; no script on it may fail."""
    context = await browser.new_context()
    page = await context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    await context.close()
    assert failures == []


async def test_a_page_opened_once_shows_every_answer_also_those_after_a_restart_and_stops_at_the_end(
    page: Page, origin: str, client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client, agent="chatbot")
    await open_front_end(page, origin, talk)
    upstream.answer(tokens=["The", " first", " answer,", ' with a "quote" and\n a line.'])
    upstream.answer(tokens=[" The", " second", " 👋"])
    await talk.start("one")
    first = 'The first answer, with a "quote" and\n a line.'
    await wait_for_chat(page, first)
    assert await server.stop() == 0
    await server.start()
    await talk.start("two")
    await wait_for_chat(page, first + " The second 👋")
    assert len(upstream.requests) == 2
    await talk.end()
    await page.wait_for_function("eventSource.readyState === 2")  # closed for good: the answer was 204
    await wait_for_chat(page, first + " The second 👋")
    assert len(upstream.requests) == 2


async def test_a_restart_in_mid_answer_neither_loses_nor_doubles_a_word(
    page: Page, origin: str, client: httpx.AsyncClient, upstream: Upstream, server: HectorServer
) -> None:
    talk = await Talk.begin(client, agent="chatbot")
    await open_front_end(page, origin, talk)
    upstream.default = Reply(tokens=60, delay=0.02)
    await talk.start("Hello")
    await page.wait_for_function("document.getElementById('chat').textContent.includes('t9')")
    assert await server.stop() == 0
    await server.start()
    await wait_for_chat(page, "".join([f" t{number}" for number in range(60)]))
    assert await page.evaluate("opened") == 2
    assert len(upstream.requests) == 1


async def test_a_page_on_a_session_that_is_gone_gives_up(
    page: Page, origin: str, client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, agent="chatbot")
    upstream.answer(tokens=3, hang="after_tokens")
    await open_front_end(page, origin, talk)
    await talk.start("Hello")
    await wait_for_chat(page, " t0 t1 t2")
    await talk.terminate()
    await page.wait_for_function("eventSource.readyState === 2")
    await wait_for_chat(page, " t0 t1 t2")
