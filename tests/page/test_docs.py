"""The pages of the API in a real browser: they show the OpenAPI document, and its operations can be tried.

Complaints of the browser, such as a violation of the Content-Security-Policy, fail the test (fixture `devices`).
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.fixtures.server import HectorServer
from tests.page.browsing import SETTINGS, Devices

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def test_every_operation_is_shown(devices: Devices, client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    page = await (await devices.add()).new_page()
    await page.goto("/docs")

    await expect(page.locator(".opblock")).to_have_count(sum(len(methods) for methods in paths.values()))
    operation = page.locator("#operations-sessions-create_session")
    await expect(operation).to_contain_text("Create a session")
    await operation.get_by_role("button").first.click()
    await expect(operation).to_contain_text("Quantum things")


async def test_an_operation_can_be_tried(devices: Devices) -> None:
    page = await (await devices.add()).new_page()
    await page.goto("/docs")

    operation = page.locator("#operations-server-get_agent")
    await operation.get_by_role("button").first.click()
    await operation.get_by_role("button", name="Try it out").click()
    await operation.get_by_placeholder("agent").fill("counter")
    await operation.get_by_role("button", name="Execute").click()

    await expect(operation.locator(".live-responses-table")).to_contain_text('"name": "Counter"')


async def test_the_pages_work_below_the_path_of_the_public_url(browser: Browser, tmp_path: Path) -> None:
    server = HectorServer(tmp_path, {**SETTINGS, "server": {"public_url": "https://example.org/hector"}})
    await server.start()
    devices = Devices(browser, server.base_url)
    page = await (await devices.add()).new_page()
    await page.goto("/hector/docs")
    operation = page.locator("#operations-server-get_health")
    await operation.get_by_role("button").first.click()
    await operation.get_by_role("button", name="Try it out").click()
    await operation.get_by_role("button", name="Execute").click()

    await expect(operation.locator(".request-url")).to_contain_text("/hector/health")
    await expect(operation.locator(".live-responses-table")).to_contain_text('"status": "ok"')
    await devices.close()
    await server.close()
    assert devices.complaints == []
