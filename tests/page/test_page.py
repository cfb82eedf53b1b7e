"""The chat page in a real browser, on a real server."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.fixtures.server import HectorServer
from tests.page.browsing import COUNTED, MARKDOWN, Devices, Tab, open_tab

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

AXE = (Path(__file__).parent / "axe.min.js").read_text(encoding="utf-8")


async def test_an_answer_is_shown_as_markdown_with_coloured_code(devices: Devices) -> None:
    tab = await devices.open()
    await tab.send("What <b>is</b> a gate?")
    await tab.wait_for_status("completed")

    await expect(tab.turns.locator(".bubble")).to_have_text("What <b>is</b> a gate?")
    await expect(tab.answer().locator("strong")).to_have_text("qubit")
    await expect(tab.answer().locator("pre .hljs-keyword").first).to_have_text("def")
    await expect(tab.answer().locator(".code-bar span")).to_have_text("python")
    await expect(tab.answer().locator("td").last).to_have_css("text-align", "right")


async def test_code_and_answer_can_be_copied(devices: Devices) -> None:
    context = await devices.add(permissions=["clipboard-read", "clipboard-write"])
    tab = await open_tab(context)
    await tab.send("Code, please")
    await tab.wait_for_status("completed")

    await tab.page.get_by_role("button", name="Copy code").click()
    await expect(tab.page.locator("#live")).to_have_text("Copied")
    code = await tab.page.evaluate("navigator.clipboard.readText()")
    await tab.page.get_by_role("button", name="Copy answer").click()
    await expect(tab.turns.get_by_role("button", name="Copy answer").locator(".icon-check")).to_be_visible()
    answer = await tab.page.evaluate("navigator.clipboard.readText()")

    assert code == "def flip(bit: int) -> int:\n    return 1 - bit"
    assert answer == MARKDOWN


async def test_an_answer_shows_what_it_was_reminded_of_and_where_that_is_from(devices: Devices) -> None:
    tab = await devices.open("/#/elephant")
    await tab.send("My sister plays the <b>cello</b>")
    await tab.wait_for_status("completed")
    told_in = tab.session_path
    asking = await open_tab(tab.page.context, "/#/elephant")
    await asking.send("Which instrument does my sister play?")
    await asking.wait_for_status("completed")
    await asking.page.get_by_text("Remembered").click()
    first = asking.turns.locator(".recalled li").first
    await expect(first).to_contain_text("My sister plays the <b>cello</b>Message · now · ")
    await asking.page.get_by_role("button", name="Inspect the session").click()
    await asking.page.locator(".turn-card").get_by_text("Remembered").click()
    await expect(asking.page.locator(".turn-card .recalled li").first).to_contain_text("My sister plays")
    await first.get_by_role("link", name="open its session").click()
    await expect(asking.turns.locator(".bubble").first).to_have_text("My sister plays the <b>cello</b>")
    assert asking.session_path == told_in
    assert devices.complaints == []


async def test_what_a_model_writes_cannot_act(devices: Devices) -> None:
    tab = await devices.open("/#/attacker")
    requests: list[str] = []
    tab.page.on("request", lambda request: requests.append(request.url))
    await tab.send("Attack")
    await tab.wait_for_status("completed")
    await tab.answer().get_by_text("press").hover()

    assert await tab.page.evaluate("window.owned") is None
    assert (
        await tab.answer().locator("script, img, iframe, svg:not(.icon), [style], [onclick], [onmouseover]").count()
        == 0
    )
    assert await tab.answer().locator("a[href^='javascript']").count() == 0
    assert not [url for url in requests if "elsewhere" in url]
    await expect(tab.answer()).to_contain_text("<script>window.owned = 1</script>")


async def test_a_reload_in_mid_answer_loses_and_doubles_nothing(devices: Devices) -> None:
    tab = await devices.open("/#/patient")
    await tab.send("Count")
    for word in ("w10", "w30"):
        await tab.wait_for(word)
        await tab.page.reload()
    await tab.wait_for_status("completed")

    assert await tab.shown() == COUNTED
    assert await tab.turns.count() == 1


async def test_other_tabs_and_devices_see_the_answer_while_it_is_written(devices: Devices) -> None:
    context = await devices.add()
    first = await open_tab(context, "/#/patient")
    await first.send("Count")
    await first.wait_for("w3")
    address = first.page.url
    tabs = [first, await open_tab(context, address), await devices.open(address)]
    for tab in tabs:
        await tab.wait_for("w5")
        assert "w69" not in await tab.shown()
    for tab in tabs:
        await tab.wait_for_status("completed")
    await tabs[2].send("Again")
    for tab in tabs:
        await expect(tab.turns).to_have_count(2)
        await tab.wait_for_status("completed")

    assert [await tab.shown() for tab in tabs] == [COUNTED] * 3


async def test_eight_tabs_with_an_answer_each_leave_room_for_more(devices: Devices) -> None:
    context = await devices.add()
    tabs = [await open_tab(context, "/#/patient") for _ in range(8)]
    await asyncio.gather(*(tab.send("Count") for tab in tabs))
    await asyncio.gather(*(tab.wait_for("w5") for tab in tabs))
    is_quick = await tabs[7].page.evaluate(
        "Promise.race([fetch('/agents').then(() => true), new Promise((end) => setTimeout(() => end(false), 3000))])"
    )
    await asyncio.gather(*(tab.wait_for_status("completed", seconds=25) for tab in tabs))

    assert is_quick
    assert [await tab.shown() for tab in tabs] == [COUNTED] * 8


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_restart_in_mid_answer_keeps_what_was_written(
    how: str, devices: Devices, server: HectorServer, client: httpx.AsyncClient
) -> None:
    tab = await devices.open("/#/patient")
    await tab.send("Count")
    await tab.wait_for("w20")
    await (server.stop() if how == "stop" else server.kill())
    await expect(tab.page.locator("#notice")).to_contain_text("Trying again")
    await server.start()
    await tab.wait_for_status("interrupted")
    shown, stored = await tab.shown(), await tab.stored(client)
    await expect(tab.page.locator(".ending")).to_contain_text("Interrupted: the server")
    await expect(tab.page.locator("#notice")).to_be_hidden()
    await tab.send("Once more")
    await tab.wait_for_status("completed")

    assert shown.startswith(stored)
    assert shown.endswith(stored)
    assert stored.startswith("w0 w1")
    assert await tab.shown() == COUNTED


async def test_being_offline_for_a_while_loses_nothing(devices: Devices) -> None:
    tab = await devices.open("/#/patient")
    await tab.send("Count")
    await tab.wait_for("w10")
    await tab.unplug()
    await expect(tab.page.locator("#notice")).to_contain_text("You are offline")
    await tab.send("And again")  # kept until there is somebody to give it to
    await asyncio.sleep(3)
    await tab.plug_in()
    await expect(tab.turns).to_have_count(2)
    await tab.wait_for_status("completed")

    assert [await tab.answer(number).inner_text() for number in (0, 1)] == [COUNTED] * 2
    assert await tab.page.locator(".pending").count() == 0


@pytest.mark.parametrize("by", ["button", "key"])
async def test_a_stopped_answer_keeps_its_text_and_says_so(
    by: str, devices: Devices, client: httpx.AsyncClient
) -> None:
    tab = await devices.open("/#/patient")
    await tab.send("Count")
    await tab.wait_for("w5")
    if by == "key":
        await tab.page.keyboard.press("Escape")
    else:
        await tab.page.get_by_role("button", name="Stop the answer").click()
    await tab.wait_for_status("cancelled")
    before = await tab.shown()
    await tab.page.reload()
    await tab.wait_for_status("cancelled")
    await expect(tab.page.locator(".ending")).to_have_text("Stopped. What was written is kept.")

    assert before == await tab.shown() == await tab.stored(client)
    assert await tab.page.get_by_role("button", name="Stop the answer").count() == 0


async def test_a_failure_is_told_in_the_providers_words(devices: Devices) -> None:
    tab = await devices.open("/#/failure")
    await tab.send("Try")
    await tab.wait_for_status("failed")
    await expect(tab.page.locator(".ending")).to_contain_text("too many people ask")
    await tab.page.reload()
    await expect(tab.page.locator(".ending")).to_contain_text("too many people ask")


async def test_waiting_shows_for_what_and_how_long(devices: Devices) -> None:
    tab = await devices.open("/#/silence")
    await tab.send("Anybody there?")
    await tab.send("Hello?")
    await expect(tab.turns.first.locator(".state")).to_have_text(re.compile(r"Waiting for the model, [23] s"))
    await expect(tab.turns.last.locator(".state")).to_have_text("Queued: waits for the answer above.")
    await tab.page.reload()
    await expect(tab.turns).to_have_count(2)
    await expect(tab.turns.last.locator(".state")).to_have_text("Queued: waits for the answer above.")
    await tab.page.get_by_role("button", name="Stop the answer").click()
    await tab.wait_for_status("running")
    assert await tab.turns.last.locator(".state").inner_text() == "Waiting for the model"  # it has only begun
    await tab.page.get_by_role("button", name="Stop the answer").click()


async def test_the_last_answer_can_be_given_anew(devices: Devices) -> None:
    tab = await devices.open()
    await tab.send("What is a gate?")
    await tab.wait_for_status("completed")
    await tab.page.get_by_role("button", name="Answer again").click()
    await expect(tab.turns.first).to_have_attribute("data-status", "replaced")
    await tab.wait_for_status("completed")
    live = await tab.page.locator("#messages").inner_text()
    await tab.page.reload()
    await tab.wait_for_status("completed")
    await expect(tab.turns.first).to_have_attribute("data-status", "replaced")

    assert await tab.page.locator(".user:visible").count() == 1
    assert live.count("What is a gate?") == 1


async def test_shift_enter_begins_a_line_and_drafts_survive_a_reload(devices: Devices) -> None:
    tab = await devices.open()
    await tab.box.fill("one")
    await tab.box.press("Shift+Enter")
    await tab.box.type("two")
    await tab.page.reload()
    await expect(tab.box).to_have_value("one\ntwo")
    await tab.box.press("Enter")
    await expect(tab.turns.locator(".bubble")).to_have_text("one\ntwo")


async def test_sessions_are_searched_renamed_ended_and_deleted(devices: Devices) -> None:
    tab = await devices.open()
    page = tab.page
    for title in ("Apples", "Pears"):
        await page.get_by_role("link", name="New session").click()
        await tab.send(title)
        await tab.wait_for_status("completed")
    await page.get_by_label("Search sessions").fill("appl")
    await expect(page.locator(".session")).to_have_count(1)
    await page.locator(".session").click()
    await expect(page.locator("h1")).to_have_text("Apples")

    await act(page, "Rename")
    await page.get_by_label("Title").fill("Plums")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("h1")).to_have_text("Plums")

    await act(page, "End session")
    await page.get_by_role("dialog").get_by_role("button", name="End session").click()
    await expect(page.locator(".composer-closed")).to_contain_text("has ended")
    await page.reload()
    await expect(page.locator(".composer-closed")).to_contain_text("has ended")
    await tab.wait_for("qubit")

    await act(page, "Delete session")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator("h1")).to_have_text("New session")
    await expect(page.locator(".session", has_text="Plums")).to_have_count(0)


async def test_a_session_deleted_elsewhere_says_so(devices: Devices, client: httpx.AsyncClient) -> None:
    tab = await devices.open("/#/counter")
    await tab.send("Count")
    await tab.wait_for("w5")
    await client.delete(tab.session_path)
    await expect(tab.page.locator(".composer-closed")).to_contain_text("was deleted")
    await tab.page.reload()
    await expect(tab.page.locator(".composer-closed")).to_contain_text("was deleted")


async def test_the_inspector_shows_events_tokens_and_a_waterfall(devices: Devices) -> None:
    tab = await devices.open()
    await tab.send("What is a gate?")
    await tab.wait_for_status("completed")
    await tab.page.get_by_role("button", name="Inspect the session").click()
    panel = tab.page.get_by_role("complementary", name="Session inspector")

    await expect(panel.locator(".waterfall rect")).to_have_count(3)
    await expect(panel.locator(".facts")).to_contain_text(re.compile(r"Tokens\d+ in, \d+ out"))
    await expect(panel.locator(".event .kind")).to_have_text(["turn started", "text", "turn finished"])
    await expect(panel.locator(".event time").first).to_have_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3}"))


async def test_the_inspector_times_a_turn_whose_end_is_pages_of_events_away(devices: Devices) -> None:
    tab = await devices.open("/#/talker")
    await tab.send("Talk")
    await tab.wait_for_status("completed")
    await tab.page.get_by_role("button", name="Inspect the session").click()
    panel = tab.page.get_by_role("complementary", name="Session inspector")

    await expect(panel.get_by_role("button", name="More events")).to_be_visible()
    await expect(panel.locator(".turn-card")).to_contain_text("Talk")
    await expect(panel.locator(".waterfall rect")).to_have_count(3)


async def test_a_key_is_asked_for_kept_in_the_tab_and_put_away(devices: Devices, tmp_path: Path) -> None:
    settings = {
        "auth": {"keys": {"alice": "secret"}},
        "llms": {"demo": {"type": "scripted"}},
        "agents": {"assistant": {}},
    }
    server = HectorServer(tmp_path, settings)
    await server.start()
    context = await devices.add(base_url=server.base_url)
    page = await context.new_page()
    await page.goto("/")
    problem = page.get_by_role("dialog").get_by_role("alert")
    await expect(problem).to_have_count(0)
    for key in ("wrong", "secret"):
        await page.get_by_label("Key", exact=True).fill(key)
        await page.get_by_role("button", name="Continue").click()
        if key == "wrong":
            await expect(problem).to_have_text("The server does not accept this key.")
    tab = Tab(page)
    await tab.send("Echo")
    await tab.wait_for("Echo")
    await page.reload()
    await tab.wait_for("Echo")
    kept = await page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]")
    await tab.box.fill("A draft")
    await page.get_by_role("button", name="Key of this server").click()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", name="This server asks for a key")).to_be_visible()
    left = await page.evaluate("Object.values(sessionStorage)")
    await context.close()
    await server.close()

    assert kept == [["secret"], []]
    assert left == []


async def test_the_page_fits_a_phone(devices: Devices) -> None:
    tab = await devices.open(viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
    await tab.send("What is a gate, and how does it differ from the gates of a town?")
    await tab.wait_for_status("completed")
    width = await tab.page.evaluate("document.scrollingElement.scrollWidth")
    await tab.page.get_by_role("button", name="Show agents and sessions").click()
    await expect(tab.page.locator(".session").first).to_be_in_viewport()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator(".session").first).not_to_be_in_viewport()

    assert width == 360


async def test_the_theme_follows_the_system_until_somebody_chooses(devices: Devices) -> None:
    tab = await devices.open(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = await tab.page.evaluate(ground)
    await tab.page.get_by_role("button", name="Dark or light").click()
    light = await tab.page.evaluate(ground)
    await tab.page.reload()

    assert dark != light
    assert await tab.page.evaluate(ground) == light


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_axe_finds_nothing(colours: Any, devices: Devices) -> None:
    tab = await devices.open(color_scheme=colours)
    found = await violations(tab.page, "welcome")
    await tab.send("What is a gate?")
    await tab.wait_for_status("completed")
    await tab.page.get_by_role("button", name="Inspect the session").click()
    await expect(tab.page.locator(".event")).not_to_have_count(0)
    found += await violations(tab.page, "answer and inspector")
    await act(tab.page, "Delete session")
    found += await violations(tab.page, "dialog")
    await tab.page.keyboard.press("Escape")
    await tab.page.set_viewport_size({"width": 390, "height": 800})
    await tab.page.get_by_role("button", name="Close the inspector").click()
    found += await violations(tab.page, "phone")
    await tab.page.get_by_role("button", name="Show agents and sessions").click()
    await expect(tab.page.locator(".session").first).to_be_in_viewport()
    found += await violations(tab.page, "phone, sessions")
    await tab.page.goto("/#/nobody")
    await expect(tab.page.locator(".composer-closed")).to_be_visible()
    found += await violations(tab.page, "unknown agent")
    await tab.page.goto("/#/silence")
    await expect(tab.page.locator("h1")).to_have_text("New session")
    for number in range(1, 4):
        await tab.send("Hello?")
        await expect(tab.turns).to_have_count(number)
    await tab.box.fill("A draft")
    await tab.page.get_by_role("button", name="Withdraw this message").last.click()
    await tab.wait_for_status("withdrawn")
    found += await violations(tab.page, "queue")
    await tab.page.get_by_role("button", name="Stop all").click()

    assert found == []


async def act(page: Page, name: str) -> None:
    """Choose from the session's menu."""
    await page.locator("summary[aria-label='More actions']").click()
    await page.locator(".menu").get_by_role("button", name=name).click()


async def violations(page: Page, where: str) -> list[str]:
    await page.evaluate(f"{AXE}\n0")
    found = await page.evaluate("axe.run(document).then((result) => result.violations)")
    return [
        f"{where}: {violation['id']} ({violation['impact']}) at {node['target']}"
        for violation in found
        for node in violation["nodes"]
    ]
