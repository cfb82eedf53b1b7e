"""The chat page as a person uses it: devices with tabs, messages written, answers read."""

from __future__ import annotations

import re
from typing import Any

import httpx
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

MARKDOWN = """## Gates

A **qubit** is not a `bit`.

```python
def flip(bit: int) -> int:
    return 1 - bit
```

| gate | effect |
|---|---:|
| X | flips |
"""
ATTACK = """Hello <script>window.owned = 1</script><img src=x onerror="window.owned = 2">

<svg onload="window.owned = 3"></svg>

[press](javascript:window.owned=4) ![picture](https://elsewhere.invalid/p.png) <b style="color:red" onclick="window.owned=5">bold</b>

<iframe srcdoc="<script>parent.owned = 6</script>"></iframe>

```html" onmouseover="window.owned=7
<script>window.owned = 8</script>
```
"""  # noqa: E501
COUNTED = " ".join([f"w{number}" for number in range(70)])

SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "200ms"},
    "llms": {
        "markdown": {"type": "scripted", "script": [{"text": MARKDOWN, "delay_ms": 2}]},
        "counting": {"type": "scripted", "script": [{"text": COUNTED, "delay_ms": 25}]},
        "counting slowly": {"type": "scripted", "script": [{"text": COUNTED, "delay_ms": 60}]},
        "talking": {"type": "scripted", "script": [{"text": " ".join([f"w{number}" for number in range(300)])}]},
        "attacking": {"type": "scripted", "script": [{"text": ATTACK, "delay_ms": 1}]},
        "failing": {
            "type": "scripted",
            "script": [{"text": COUNTED, "fail_after": 5, "error": "too many people ask", "delay_ms": 2}],
        },
        "silent": {"type": "scripted", "script": [{"text": "", "hang": True}]},
    },
    "agents": {
        "assistant": {"name": "Assistant", "description": "Knows about gates.", "llm": "markdown"},
        "counter": {"name": "Counter", "llm": "counting"},
        "patient": {"name": "Patient counter", "llm": "counting slowly"},
        "talker": {"name": "Talker", "llm": "talking"},
        "attacker": {"name": "Attacker", "llm": "attacking"},
        "failure": {"name": "Failure", "llm": "failing"},
        "silence": {"name": "Silence", "llm": "silent"},
        "fleeting": {"name": "Fleeting", "llm": "counting slowly", "streaming": {"disconnect_grace": "2s"}},
        "elephant": {"name": "Elephant", "llm": "markdown", "memory": {"longterm": {"storage_scope": "all"}}},
    },
    "embedders": {"default": {"type": "none"}},
}

# What the browser itself writes when nobody answers; a page cannot prevent it.
_CUT = re.compile(r"Failed to load resource: (net::ERR_|the server responded with a status of (401|404|409|410|503))")


class Tab:
    """One page of the chat."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.box = page.get_by_role("textbox", name="Message", exact=True)
        self.turns = page.locator("section.turn")

    async def send(self, text: str) -> None:
        await self.box.fill(text)
        await self.box.press("Enter")

    def answer(self, number: int = -1) -> Locator:
        return self.turns.nth(number).locator(".answer-body")

    async def wait_for(self, text: str, *, seconds: float = 15) -> None:
        """Until the newest answer has `text` in it."""
        await expect(self.answer()).to_contain_text(text, timeout=seconds * 1000)

    async def wait_for_status(self, status: str, *, seconds: float = 15) -> None:
        await expect(self.turns.last).to_have_attribute("data-status", status, timeout=seconds * 1000)

    async def unplug(self) -> None:
        """Cut this device off, as seen from the page: the event, then no answer to anything.

        A machine that has no network at all is offline to Chromium to begin with, and then no event comes.
        """
        was_online = await self.page.evaluate("navigator.onLine")
        await self.page.context.set_offline(True)
        if not was_online:
            await self.page.evaluate("dispatchEvent(new Event('offline'))")

    async def plug_in(self) -> None:
        await self.page.context.set_offline(False)

    async def shown(self) -> str:
        """The text of the newest answer."""
        return (await self.answer().inner_text()).strip()

    @property
    def session_path(self) -> str:
        """The address of the session in the API."""
        _, agent, session_id = self.page.url.partition("#")[2].split("/")
        return f"/agents/{agent}/sessions/{session_id}"

    async def stored(self, client: httpx.AsyncClient) -> str:
        """The text of the newest answer as the server has it."""
        messages = (await client.get(f"{self.session_path}/messages")).json()["messages"]
        return str(next(message["content"] for message in reversed(messages) if message["role"] == "assistant")).strip()


class Devices:
    """Browsers that know nothing of each other. `complaints` is what their consoles said."""

    def __init__(self, browser: Browser, base_url: str) -> None:
        self.complaints: list[str] = []
        self._browser = browser
        self._base_url = base_url
        self._contexts: list[BrowserContext] = []

    async def add(self, **options: Any) -> BrowserContext:
        context = await self._browser.new_context(**{"base_url": self._base_url} | options)
        context.set_default_timeout(15_000)
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self._contexts.append(context)
        return context

    async def open(self, address: str = "/", **options: Any) -> Tab:
        """A new device with one tab."""
        return await open_tab(await self.add(**options), address)

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        if not _CUT.match(message.text):
            self.complaints.append(f"{message.type}: {message.text}")


async def open_tab(context: BrowserContext, address: str = "/") -> Tab:
    page = await context.new_page()
    await page.goto(address)
    await page.locator("#composer-text").wait_for()
    return Tab(page)
