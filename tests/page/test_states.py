"""What the page says where something is not there any more: agents, sessions, keys, connections."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from playwright.async_api import Route, expect

from tests.page.browsing import Devices, Tab, open_tab

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]


@pytest.mark.parametrize("link", ["/#/nobody", "/#/nobody/sess_1", "/#/%E0%A4%A", "/#/%E0%A4%A/%"])
async def test_a_link_to_an_unknown_agent_says_so_and_leads_on(link: str, devices: Devices) -> None:
    tab = Tab(await (await devices.add()).new_page())
    await tab.page.goto(link)
    await expect(tab.page.locator(".composer-closed")).to_contain_text(
        re.compile("There is no agent “.+” on this server")
    )
    await tab.page.locator(".composer-closed").get_by_role("button", name="New session").click()
    await expect(tab.page.locator(".welcome h2")).to_have_text("Assistant")
    await expect(tab.box).to_be_enabled()


async def test_a_session_deleted_elsewhere_leaves_the_list_and_the_screen(
    devices: Devices, client: httpx.AsyncClient
) -> None:
    tab = await devices.open()
    await tab.send("Soon gone")
    await tab.wait_for_status("completed")
    await expect(tab.page.locator(".session", has_text="Soon gone")).to_have_count(1)
    await client.delete(tab.session_path)
    await expect(tab.page.locator(".composer-closed")).to_contain_text("was deleted")
    await expect(tab.page.locator(".session", has_text="Soon gone")).to_have_count(0)
    await expect(tab.turns).to_have_count(0)


async def test_a_search_without_a_match_says_so(devices: Devices) -> None:
    tab = await devices.open()
    await tab.page.get_by_label("Search sessions").fill("nothing is called so")
    await expect(tab.page.locator(".empty")).to_have_text("No sessions match.")


async def test_a_lost_connection_tells_how_long_the_answer_is_written_without_a_reader(devices: Devices) -> None:
    tab = await devices.open("/#/fleeting")
    await tab.send("Count")
    await tab.wait_for("w1")
    await tab.unplug()
    state = tab.turns.locator(".state")
    await expect(state).to_have_text("Connection lost. The answer is still being written.")
    await expect(state).to_have_text("Connection lost. Without a reader the server stops the answer.")
    await tab.plug_in()
    await tab.wait_for_status("cancelled")
    await expect(tab.turns.locator(".ending")).to_contain_text("no reader was left")


async def test_what_an_answer_took_is_told_after_a_reload_too(devices: Devices) -> None:
    tab = await devices.open()
    await tab.send("What is a gate?")
    await tab.wait_for_status("completed")
    took = await tab.turns.locator(".answer > .tools").inner_text()
    await tab.page.reload()

    assert re.match(r"\d+ tokens in ", took.strip())
    await expect(tab.turns.locator(".answer > .tools")).to_have_text(took.strip())


async def test_a_summary_and_a_cut_answer_are_told_after_a_reload_too(devices: Devices) -> None:
    tab = await devices.open()
    await tab.send("What is a gate?")
    await tab.wait_for_status("completed")
    told = {"status": "used", "tokens": 10, "messages": 4, "left_out": 2}

    async def change(route: Route) -> None:
        answer = await route.fetch()
        turn = await answer.json()
        await route.fulfill(response=answer, json=turn | {"finish_reason": "length", "memory": {"summary": told}})

    await tab.page.route("**/turns/*", change)
    await tab.page.reload()
    await expect(tab.turns.locator(".summary-note")).to_have_text("2 older messages are left out.")
    await expect(tab.turns.locator(".ending")).to_contain_text("limit of tokens")


async def test_a_turn_that_cannot_be_drawn_does_not_hide_the_others(devices: Devices) -> None:
    tab = await devices.open()
    for message in ("One", "Two"):
        await tab.send(message)
        await tab.wait_for_status("completed")
    address = tab.page.url

    async def distort(route: Route) -> None:
        answer = await route.fetch()
        page = await answer.json()
        page["messages"][1]["content"] = ["not a text"]
        await route.fulfill(response=answer, json=page)

    await tab.page.route("**/messages", distort)
    await tab.page.goto("about:blank")
    await tab.page.goto(address)
    await tab.wait_for("qubit")

    await expect(tab.turns.first).to_contain_text("This answer cannot be drawn.")
    devices.complaints.clear()  # it was reported


async def test_a_message_as_long_as_can_be_does_not_hold_up_the_page(
    devices: Devices, client: httpx.AsyncClient
) -> None:
    session = (await client.post("/agents/assistant/sessions", json={})).json()["session_id"]
    path = f"/agents/assistant/sessions/{session}/messages"
    sent = await client.post(path, json={"message": "w" * 150_000 + "e" + "\u0301" * 40_000})
    assert sent.status_code == 200
    tab = await devices.open(f"/#/assistant/{session}")
    await tab.wait_for("qubit")
    await tab.page.get_by_role("button", name="Inspect the session").click()

    await expect(tab.page.locator(".turn-card h4")).to_have_count(1)
    assert len(await tab.turns.locator(".bubble").text_content() or "") > 150_000


async def test_without_the_worker_answers_are_plain_text(devices: Devices) -> None:
    context = await devices.add()
    await context.route("**/markdown-worker.js", lambda route: route.abort())
    tab = await open_tab(context)
    await tab.send("What is a gate?")
    await tab.wait_for_status("completed")

    await expect(tab.answer().locator(".plain")).to_contain_text("A **qubit** is not a `bit`.")


async def _hold_new_sessions(tab: Tab) -> asyncio.Event:
    """Sessions are created once the event is set."""
    go_on = asyncio.Event()

    async def wait(route: Route) -> None:
        if route.request.method == "POST":
            await go_on.wait()
        await route.continue_()

    await tab.page.route("**/sessions", wait)
    return go_on


async def test_what_is_typed_while_a_session_is_created_stays_in_the_box(devices: Devices) -> None:
    tab = await devices.open()
    go_on = await _hold_new_sessions(tab)
    await tab.send("What is a gate?")
    await tab.box.fill("And what is")
    go_on.set()
    await tab.wait_for_status("completed")
    await expect(tab.box).to_have_value("And what is")
    await tab.page.reload()
    await expect(tab.box).to_have_value("And what is")
    await tab.page.get_by_role("link", name="New session").click()
    await expect(tab.box).to_have_value("")


async def test_a_first_message_goes_to_its_session_although_another_is_shown_by_then(
    devices: Devices, client: httpx.AsyncClient
) -> None:
    made = await client.post("/agents/assistant/sessions", json={"title": "Other"})
    tab = await devices.open()
    go_on = await _hold_new_sessions(tab)
    await tab.send("What is a gate?")
    await tab.page.get_by_role("link", name="Other").click()
    await tab.box.fill("A draft for the other")
    go_on.set()
    await tab.page.get_by_role("link", name="What is a gate?").first.click()
    await tab.wait_for_status("completed")
    await tab.page.get_by_role("link", name="Other").click()
    await expect(tab.box).to_have_value("A draft for the other")
    page = await client.get(f"/agents/assistant/sessions/{made.json()['session_id']}/messages")
    assert page.json()["messages"] == []


async def test_a_click_on_a_session_counts_at_once(devices: Devices) -> None:
    tab = await devices.open()
    await tab.send("What is a gate?")
    await tab.wait_for_status("completed")
    await tab.page.evaluate("addEventListener('hashchange', (event) => event.stopImmediatePropagation(), true)")
    await tab.page.get_by_role("link", name="New session").click()
    await expect(tab.page.locator("h1")).to_have_text("New session")
