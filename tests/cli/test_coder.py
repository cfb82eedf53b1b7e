"""An agent that acts, on a real server, from the terminal: what the seed prints, what is asked, what scripts do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.cli.command import Hector, ended
from tests.cli.terminal import Terminal
from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITE = {"name": "write_file", "arguments": {"path": "hello.py", "content": "print('Hello')\n"}}
RUN = {"name": "execute_command", "arguments": {"command": "python hello.py"}}
ASK = {"name": "ask_user", "arguments": {"question": "Which colour?", "choices": ["red", "green"]}}
SETTINGS: dict[str, Any] = {
    "server": {"shutdown_grace": "200ms"},
    "llms": {
        "coding": {
            "type": "scripted",
            "script": [
                {"text": "First the file.", "calls": [WRITE]},
                {"text": "Now I run it.", "calls": [RUN]},
                {"text": "It says Hello."},
            ],
        },
        "careful": {"type": "scripted", "script": [{"calls": [WRITE], "when": "^Write"}, {"text": "Well."}]},
        "leading": {
            "type": "scripted",
            "script": [
                {"calls": [{"name": "agent_call", "arguments": {"agent": "asker", "message": "Ask"}}], "when": "^Lead"},
                {
                    "calls": [{"name": "agent_call", "arguments": {"agent": "careful", "message": "Write"}}],
                    "when": "Thank",
                },
                {"text": "Done by others."},
            ],
        },
        "asking": {"type": "scripted", "script": [{"calls": [ASK], "when": "^Ask"}, {"text": "Thank you."}]},
    },
    "agents": {
        "coder": {"llm": "coding", "tools": ["write_file", "execute_command"]},
        "careful": {"llm": "careful", "tools": ["write_file"], "permissions": {"ask": ["write_file"]}},
        "asker": {"llm": "asking", "tools": ["ask_user"]},
        "leader": {"llm": "leading", "tools": ["agent_call"], "sub_agents": ["asker", "careful"]},
    },
    "tools": {"execute_command": {"allowed_commands": ["python"]}},
    "embedders": {"default": {"type": "none"}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("coder")), SETTINGS)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
def hector(server: HectorServer, tmp_path: Path) -> Hector:
    return Hector(tmp_path, server.base_url)


def chat(server: HectorServer, folder: Path, agent: str, session: str) -> Terminal:
    return Terminal(folder, "chat", agent, "--session", session, server=server.base_url, width=110, height=40)


async def test_a_coder_prints_its_calls_and_what_came_of_them(hector: Hector) -> None:
    result = await hector("call", "coder", "Write hello.py and run it")

    lines = [line for line in result.out.splitlines() if line]
    assert lines[0] == "First the file."
    assert lines[1].startswith('[Tool: write_file("hello.py"')
    assert lines[3:] == [
        "Now I run it.",
        '[Tool: execute_command("python hello.py")]',
        "Output: Hello",
        "It says Hello.",
    ]


async def test_what_it_says_in_each_step_is_printed_apart_when_it_is_complete(hector: Hector) -> None:
    result = await hector("call", "coder", "Write hello.py and run it", "--no-stream")

    assert result.out == "First the file.\n\nNow I run it.\n\nIt says Hello.\n"


async def test_a_call_is_approved_with_edited_arguments(server: HectorServer, tmp_path: Path) -> None:
    async with chat(server, tmp_path, "careful", "edited") as terminal:
        await terminal.say("Write it")
        await terminal.shows("Enter later:")
        terminal.type("e\r")
        await terminal.until(lambda text: text.splitlines()[-1].startswith("Arguments:"))
        terminal.type('\x15{"path": "hello.py", "content": "edited"}\r')
        await terminal.shows("Well.")
        await terminal.prompt()
        await terminal.say("/calls")
        await terminal.shows('write_file("hello.py", "edited")')

    assert (server.folder / "workspace" / "hello.py").read_text() == "edited"


async def test_a_turn_that_was_left_waiting_is_taken_up_after_a_restart(server: HectorServer, tmp_path: Path) -> None:
    async with chat(server, tmp_path, "careful", "left") as terminal:
        await terminal.say("Write it")
        await terminal.shows("Enter later:")
        terminal.type("\r")
        await terminal.shows("It waits.")
    await server.stop()
    await server.start()
    async with chat(server, tmp_path, "careful", "left") as terminal:
        await terminal.shows("Enter later:")
        terminal.type("n\r")
        await terminal.shows("Reason")
        terminal.type("Not now\r")
        await terminal.shows("Well.")


async def test_a_question_is_answered(server: HectorServer, tmp_path: Path) -> None:
    async with chat(server, tmp_path, "asker", "asked") as terminal:
        await terminal.say("Ask me")
        await terminal.shows("2. green")
        terminal.type("2\r")
        await terminal.shows("Thank you.")


async def test_what_called_agents_ask_is_asked_of_their_callers_user(server: HectorServer, tmp_path: Path) -> None:
    async with chat(server, tmp_path, "leader", "led") as terminal:
        await terminal.say("Lead")
        await terminal.shows("2. green")
        terminal.type("1\r")
        await terminal.shows("write_file of careful needs your approval.")
        await terminal.shows("Enter later:")
        terminal.type("y\r")
        await terminal.shows("Done by others.")


async def test_a_script_approves_what_another_waits_for(server: HectorServer, hector: Hector) -> None:
    process = await hector.start("call", "careful", "Write it", "--session", "scripted")

    async def waiting() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            found = (await client.get("/agents/careful/approvals")).json()["approvals"]
        return [act for act in found if act["session_id"] == "scripted"]

    [act] = await eventually(waiting)
    approved = await hector("approve", "careful", "scripted", act["call_id"], "--remember", "session")
    again = await hector("refuse", "careful", "scripted", act["call_id"])
    result = await ended(process)

    assert (approved.code, again.code) == (0, 5)
    assert (result.code, result.out.splitlines()[-1]) == (0, "Well.")
    assert "hector chat careful --session scripted" in result.err
