"""Messages that wait behind an answer: shown as such, withdrawn, and stopped with it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, expect

from tests.page.browsing import Devices, Tab, open_tab

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


async def waiting_messages(devices: Devices, *messages: str) -> Tab:
    """A tab with an answer that does not come, and these messages behind it."""
    tab = await devices.open("/#/silence")
    await tab.send("First")
    await tab.wait_for_status("running")
    for number, message in enumerate(messages, 2):
        await tab.send(message)
        await expect(tab.turns).to_have_count(number)
        await tab.wait_for_status("queued")
    return tab


def withdraw(tab: Tab, message: str) -> Locator:
    turn = tab.turns.filter(has_text=message)
    return turn.get_by_role("button", name="Withdraw this message")


async def session(tab: Tab, client: httpx.AsyncClient) -> tuple[str | None, list[str], list[str]]:
    """The running message, those that wait, and those in the history."""
    about: dict[str, Any] = (await client.get(tab.session_path)).json()
    messages = (await client.get(f"{tab.session_path}/messages")).json()["messages"]
    running = about["turn"]["message"] if about["turn"] else None
    return running, [turn["message"] for turn in about["queue"]], [message["content"] for message in messages]


async def test_a_waiting_message_is_withdrawn_and_put_back_into_the_box(
    devices: Devices, client: httpx.AsyncClient
) -> None:
    tab = await waiting_messages(devices, "Second", "Third")
    await expect(tab.turns.last.locator(".state")).to_have_text("Queued: waits for the answer above.")
    await withdraw(tab, "Second").click()
    await expect(tab.box).to_have_value("Second")
    await expect(tab.turns.locator(".bubble")).to_have_text(["First", "Third"])

    assert await session(tab, client) == ("First", ["Third"], ["First"])
    await tab.page.get_by_role("button", name="Stop all").click()


async def test_what_is_being_written_is_not_overwritten_by_what_is_withdrawn(devices: Devices) -> None:
    tab = await waiting_messages(devices, "Second")
    watching = await open_tab(tab.page.context, tab.page.url)
    await expect(watching.turns).to_have_count(2)
    await tab.box.fill("Half a thought")
    await withdraw(tab, "Second").click()
    for each in (tab, watching):
        await expect(each.turns.last).to_have_attribute("data-status", "withdrawn")
        await expect(each.turns.last.locator(".ending")).to_have_text("Withdrawn.")
    assert await tab.box.input_value() == "Half a thought"
    assert await watching.box.input_value() == ""
    await tab.page.reload()
    await expect(tab.turns.locator(".bubble")).to_have_text(["First"])
    await tab.page.get_by_role("button", name="Stop the answer").click()


async def test_stop_all_stops_the_answer_and_puts_back_what_waits(devices: Devices, client: httpx.AsyncClient) -> None:
    tab = await waiting_messages(devices, "Second", "Third")
    await expect(tab.page.locator(".composer-queue")).to_contain_text("2 messages wait.")
    await tab.page.get_by_role("button", name="Stop all").click()
    await tab.wait_for_status("cancelled")
    await expect(tab.turns.locator(".bubble")).to_have_text(["First"])
    await expect(tab.box).to_have_value("Second\n\nThird")
    await expect(tab.page.get_by_role("button", name="Stop all")).to_be_hidden()

    assert await session(tab, client) == (None, [], ["First"])


async def test_escape_twice_stops_all(devices: Devices, client: httpx.AsyncClient) -> None:
    tab = await waiting_messages(devices, "Second", "Third", "Fourth")
    await tab.page.keyboard.press("Escape")
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.get_by_role("button", name="Stop the answer")).to_be_hidden()
    running, waiting, stored = await session(tab, client)

    assert (running, waiting) == (None, [])
    assert "Fourth" in await tab.box.input_value()  # the second may have begun between the two
    assert "Fourth" not in stored


async def test_escape_once_stops_the_answer_and_lets_the_next_begin(
    devices: Devices, client: httpx.AsyncClient
) -> None:
    tab = await waiting_messages(devices, "Second", "Third")
    await tab.page.keyboard.press("Escape")
    await expect(tab.turns.nth(1)).to_have_attribute("data-status", "running")

    assert await session(tab, client) == ("Second", ["Third"], ["First", "Second"])
    await tab.page.get_by_role("button", name="Stop all").click()


async def test_a_message_that_cannot_be_sent_is_taken_back_also_after_a_reload(devices: Devices) -> None:
    tab = await devices.open("/#/silence")
    await tab.send("First")
    await tab.wait_for_status("running")
    await tab.unplug()
    await tab.send("Second")
    await tab.page.get_by_role("button", name="Do not send this message").click()
    await expect(tab.box).to_have_value("Second")
    await tab.plug_in()
    await tab.page.reload()
    await expect(tab.turns.locator(".bubble")).to_have_text(["First"])
    await expect(tab.page.locator(".pending")).to_have_count(0)
    await tab.page.get_by_role("button", name="Stop the answer").click()
