"""The front end of the page runs in a real browser against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import async_playwright

from tests.docs.pages import ROOT, Block, blocks
from tests.fixtures.server import HectorServer

PAGE = ROOT / "docs" / "sessions-and-streaming.md"
TEXT = "Quantum computing uses quantum mechanics."
SETTINGS = {
    "server": {"shutdown_grace": "300ms"},
    "llms": {"demo": {"type": "scripted", "script": [{"text": TEXT, "delay_ms": 20}]}},
    "agents": {"assistant": {}},
}


def programs() -> list[Block]:
    return [block for block in blocks(PAGE) if block.language == "js"]


@pytest.mark.browser
@pytest.mark.parametrize("block", programs(), ids=lambda block: f"line {block.line}")
async def test_the_front_end_of_the_page_shows_the_answer(block: Block, tmp_path: Path) -> None:
    server = HectorServer(tmp_path, SETTINGS)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            created = await client.post("/agents/assistant/sessions")
        program = re.sub(r"http://localhost:8080", server.base_url, block.text)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = await browser.new_page()
            await page.goto(f"{server.base_url}/health")
            wrapped = f"const onAnswer = (...all) => resolve(all); {program}"
            shown = await page.evaluate(
                f"sessionId => new Promise(async (resolve) => {{ {wrapped} }})", created.json()["session_id"]
            )
            await browser.close()
    finally:
        await server.close()

    assert shown == [TEXT, "completed"]
