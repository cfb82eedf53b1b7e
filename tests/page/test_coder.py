"""An agent that acts, on a real server: its cards, approvals that outlive a restart, questions, and steering."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from tests.fixtures.server import HectorServer
from tests.page.browsing import Devices, Tab, open_tab

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="package")]

HELLO = {"path": "hello.py", "content": "print('Hello')\n"}
COUNTED = " ".join([f"w{number}" for number in range(40)])


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def scripted(*answers: dict[str, Any]) -> dict[str, Any]:
    return {"type": "scripted", "script": list(answers)}


def settings() -> dict[str, Any]:
    tasks = [{"id": "1", "content": "Write it", "status": "completed"}]
    tasks += [{"id": "2", "content": "Run it", "status": "in_progress"}]
    return {
        "server": {"shutdown_grace": "200ms"},
        "llms": {
            "coding": scripted(
                {"text": "First the file.", "calls": [call("todo_write", todos=tasks), call("write_file", **HELLO)]},
                {"text": "Now I run it.", "calls": [call("execute_command", command="python hello.py")]},
                {"text": "It says Hello."},
            ),
            "careful": scripted(
                {"text": "First the file.", "calls": [call("write_file", **HELLO)], "when": "^Write"}, {"text": "Well."}
            ),
            "asking": scripted(
                {"calls": [call("ask_user", question="Which colour?", choices=["red", "green"])]},
                {"calls": [call("ask_user", question="And how many?")]},
                {"text": "Thank you."},
            ),
            "talking": scripted(
                {"text": COUNTED, "delay_ms": 60, "calls": [call("todo_write", todos=tasks)]},
                {"text": "In English, then.", "when": "In English"},
                {"text": "Bien."},
            ),
            "leading": scripted(
                {
                    "text": "I ask a colleague.",
                    "calls": [call("agent_call", agent="helper", message="Write it")],
                    "when": "^Lead",
                },
                {"text": "Done by others."},
            ),
            "slow": scripted(
                {"calls": [call("execute_command", command="sleep 60")], "when": "^Sleep"}, {"text": "Awake."}
            ),
        },
        "agents": {
            "coder": {"llm": "coding", "tools": ["todo_write", "write_file", "execute_command"]},
            "careful": {"llm": "careful", "tools": ["write_file"], "permissions": {"ask": ["write_file"]}},
            "helper": {"llm": "careful", "tools": ["write_file"], "permissions": {"ask": ["write_file"]}},
            "leader": {"llm": "leading", "tools": ["agent_call"], "sub_agents": ["helper"]},
            "sleeper": {"llm": "slow", "tools": ["execute_command"], "reasoning": {"on_crash": "resume"}},
            "asker": {"llm": "asking", "tools": ["ask_user"]},
            "talker": {"llm": "talking", "tools": ["todo_write"]},
        },
        "tools": {"execute_command": {"allowed_commands": ["python", "sleep"]}},
        "embedders": {"default": {"type": "none"}},
    }


@pytest_asyncio.fixture(loop_scope="package")
async def coder(tmp_path: Path) -> AsyncIterator[HectorServer]:
    server = HectorServer(tmp_path, settings())
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture(loop_scope="package")
async def desks(browser: Browser, coder: HectorServer) -> AsyncIterator[Devices]:
    devices = Devices(browser, coder.base_url)
    yield devices
    await devices.close()
    assert devices.complaints == []


def card(tab: Tab, name: str) -> Locator:
    return tab.page.locator(".tool").filter(has=tab.page.locator(".tool-name", has_text=re.compile(f"^{name}$")))


async def test_a_coder_writes_a_file_and_runs_it_while_it_is_watched(desks: Devices, coder: HectorServer) -> None:
    tab = await desks.open("/#/coder")
    await tab.send("Write hello.py and run it")
    await tab.wait_for_status("completed")
    for _ in range(2):
        await expect(tab.answer().locator(":scope > *")).to_contain_text(
            ["First the file.", "todo_write", "write_file", "Now I run it.", "execute_command", "It says Hello."]
        )
        await expect(card(tab, "write_file").locator(".diff .add")).to_have_text("+print('Hello')\n")
        await expect(card(tab, "execute_command").locator(".tool-state")).to_have_text("done")
        await expect(card(tab, "execute_command").locator(".terminal")).to_contain_text("Hello")
        await expect(tab.turns.locator(".ending")).to_be_hidden()
        await expect(tab.page.locator(".todos summary")).to_have_text("Tasks: 1 of 2 done. Now: Run it")
        await tab.page.reload()


async def test_an_approval_outlives_a_restart_and_is_given_with_edited_arguments(
    desks: Devices, coder: HectorServer
) -> None:
    tab = await desks.open("/#/careful")
    await tab.send("Write hello.py and run it")
    tool = card(tab, "write_file")
    await expect(tool.get_by_role("button", name="Edit…")).to_be_visible()
    await coder.stop()
    await coder.start()
    await tab.page.reload()
    await tool.get_by_role("button", name="Edit…").click()
    await tool.get_by_label("Arguments as JSON").fill('{"path": "hello.py", "content": "print(\'Edited\')"}')
    await tool.get_by_role("button", name="Approve with these arguments").click()
    await tab.wait_for_status("completed")

    await expect(tool).to_contain_text("Approved with edited arguments by")
    await expect(tool.locator(".diff .add")).to_have_text("+print('Edited')\n")
    async with httpx.AsyncClient(base_url=coder.base_url, trust_env=False) as client:
        calls = (await client.get(f"{tab.session_path}/calls")).json()["calls"]
    assert [one["edited"]["content"] for one in calls if "edited" in one] == ["print('Edited')"]


async def test_a_call_that_is_refused_is_told_with_its_reason(desks: Devices) -> None:
    tab = await desks.open("/#/careful")
    await tab.send("Write hello.py and run it")
    tool = card(tab, "write_file")
    await tool.get_by_role("button", name="Refuse…").click()
    await tool.get_by_label("Reason").fill("Not today")
    await tool.get_by_role("button", name="Refuse", exact=True).click()
    await tab.wait_for_status("completed")

    await expect(tool.locator(".tool-state")).to_have_text("refused")
    await expect(tool).to_contain_text("Not today")


async def test_questions_are_answered_on_their_cards(desks: Devices) -> None:
    tab = await desks.open("/#/asker")
    await tab.send("Ask me")
    await tab.page.get_by_role("button", name="green").click()
    await tab.page.get_by_label("Your answer").fill("three")
    await tab.page.get_by_role("button", name="Answer", exact=True).click()
    await tab.wait_for("Thank you.")

    await expect(card(tab, "ask_user").locator(".tool-state")).to_have_text(["done", "done"])
    await expect(card(tab, "ask_user").last).to_contain_text("three")


async def test_a_message_enters_the_running_answer(desks: Devices) -> None:
    tab = await desks.open("/#/talker")
    await tab.send("Parle")
    await tab.wait_for("w3")
    await tab.page.get_by_text("steers this answer").click()
    await tab.send("In English")
    await expect(tab.turns.last.locator(".state")).to_have_text("Enters the answer above at its next step.")
    await tab.wait_for("In English, then.")
    await tab.wait_for_status("completed")
    for _ in range(2):
        await expect(tab.turns).to_have_count(1)
        await expect(tab.turns.locator(".steered .bubble")).to_have_text("In English")
        await expect(tab.answer().locator(":scope > *").last).to_have_text("In English, then.")
        await tab.page.reload()


async def test_what_a_called_agent_asks_is_answered_in_the_session_of_its_caller(desks: Devices) -> None:
    tab = await desks.open("/#/leader")
    await tab.send("Lead")
    child = card(tab, "write_file")
    await expect(child.locator(".pill")).to_have_text("helper")
    await child.get_by_role("button", name="Approve", exact=True).click()
    await tab.wait_for("Done by others.")

    await expect(child.locator(".tool-state")).to_have_text("done")
    await expect(card(tab, "agent_call").locator(".tool-state")).to_have_text("done")
    await expect(card(tab, "agent_call").locator(".terminal")).to_have_text("First the file.\nWell.")
    await expect(card(tab, "agent_call").locator(".pill")).to_be_hidden()


async def test_after_a_kill_a_person_says_what_became_of_a_command(desks: Devices, coder: HectorServer) -> None:
    tab = await desks.open("/#/sleeper")
    await tab.send("Sleep")
    tool = card(tab, "execute_command")
    await expect(tool.locator(".tool-state")).to_have_text("running")
    await coder.kill()
    await coder.start()
    await expect(tool).to_contain_text("Nobody knows whether this call happened", timeout=20_000)
    await tool.get_by_role("button", name="It did not").click()
    await tab.wait_for("Awake.")

    await expect(tool.locator(".tool-state")).to_have_text("failed")


TAKE_ALL_STREAMS = (
    "for (let n = 0; n < 4; n++) navigator.locks?.request('hector.stream.' + n, () => new Promise(() => {}))"
)


async def test_a_tab_that_has_no_stream_shows_and_asks_the_same(desks: Devices) -> None:
    context = await desks.add()
    await context.add_init_script(TAKE_ALL_STREAMS)
    tab = await open_tab(context, "/#/careful")
    await tab.send("Write it")
    tool = card(tab, "write_file")
    await tool.get_by_role("button", name="Refuse…").click()
    await tool.get_by_label("Reason").fill("Not")
    polls = [await tab.page.wait_for_event("response", lambda one: one.url.endswith("/messages")) for _ in range(2)]
    await tool.get_by_label("Reason").press_sequentially(" now")
    await tool.get_by_role("button", name="Refuse", exact=True).click()
    await tab.wait_for("Well.")

    assert all(poll.ok for poll in polls)
    await expect(tool.locator(".tool-state")).to_have_text("refused")
    await expect(tool).to_contain_text("Not now")


async def test_what_runs_is_named_while_nothing_is_said(desks: Devices) -> None:
    tab = await desks.open("/#/sleeper")
    await tab.send("Sleep")
    await expect(tab.turns.last.locator(".state")).to_contain_text("Running execute_command")
    await tab.page.get_by_role("button", name="Stop the answer (Esc)").click()
    await tab.wait_for_status("cancelled")

    await expect(card(tab, "execute_command").locator(".tool-state")).to_have_text("cancelled")
