"""A server with scripted models, a Chromium, and tabs in it that report what they complain about."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.fixtures.acting import ActingServer
from tests.fixtures.server import HectorServer
from tests.page.browsing import CHROMIUM, FLAGS, SETTINGS, Devices


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(tmp_path_factory.mktemp("page"), SETTINGS)
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def devices(browser: Browser, server: HectorServer) -> AsyncIterator[Devices]:
    devices = Devices(browser, server.base_url)
    yield devices
    await devices.close()
    assert devices.complaints == []


@pytest_asyncio.fixture(loop_scope="package")
async def client(server: HectorServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def acting_server() -> AsyncIterator[ActingServer]:
    server = ActingServer()
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture(loop_scope="package")
async def acting(acting_server: ActingServer) -> ActingServer:
    acting_server.restart()
    return acting_server


@pytest_asyncio.fixture(loop_scope="package")
async def watchers(browser: Browser, acting: ActingServer) -> AsyncIterator[Devices]:
    """Browsers at the acting server."""
    devices = Devices(browser, acting.base_url)
    yield devices
    await devices.close()
    assert devices.complaints == []
