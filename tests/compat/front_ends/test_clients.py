"""The doors as `HttpAgent` of AG-UI and `useChat` of the AI SDK see them, in Node, each in one program with scenes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.tools import HERE, NODE_MODULES, PROGRAMS, run
from tests.compat.front_ends.conftest import WORDS
from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import good

pytestmark = pytest.mark.asyncio(loop_scope="session")

SUCCESS = {"last": "RUN_FINISHED", "outcome": "success", "code": None, "error": None}


async def play(program: str, server: HectorServer, folder: Path) -> dict[str, Any]:
    shutil.copy(HERE / "typescript" / program, folder)
    (folder / "node_modules").symlink_to(NODE_MODULES)
    return dict(json.loads(await run("node", program, server.base_url, folder=folder)))


async def is_cancelled(client: httpx.AsyncClient, session: str) -> bool:
    messages = good(await client.get(f"/agents/hasty/sessions/{session}/messages"))["messages"]
    return bool(messages[-1]["status"] == "cancelled")


async def test_http_agent_of_ag_ui(server: HectorServer, client: httpx.AsyncClient, tmp_path: Path) -> None:
    seen = await play("agui.mjs", server, tmp_path)

    acts = seen["acts"]
    assert acts["wrote"] == SUCCESS
    assert [(role, calls) for role, _, calls in acts["first"]] == [
        ("user", 0),
        ("assistant", 1),
        ("tool", 0),
        ("assistant", 1),
        ("tool", 0),
        ("assistant", 0),
    ]
    assert acts["first"][-1][1] == "The program works correctly!"
    assert (acts["asked"]["outcome"], acts["snapshot"]) == ("interrupt", True)
    assert acts["interrupts"][0]["reason"] == "tool_call"
    assert "editedArgs" in acts["interrupts"][0]["properties"]
    assert (acts["refused"]["last"], acts["refused"]["code"]) == ("RUN_ERROR", "interrupts_open")
    assert acts["resumed"] == SUCCESS
    assert acts["shown"][1][0] == "tool"
    assert '"command":"ls"' in acts["shown"][1][1]

    assert (seen["question"]["reason"], seen["question"]["message"]) == ("input_required", "Tabs or spaces?")
    assert seen["question"]["schema"]["enum"] == ["tabs", "spaces"]
    assert seen["question"]["text"] == "That is what I thought."
    assert (seen["again"]["first"], seen["again"]["again"]) == (WORDS, WORDS)
    assert (seen["cancel"]["last"], seen["cancel"]["outcome"]) == ("RUN_FINISHED", "cancelled")
    assert (seen["failure"]["last"], seen["failure"]["code"]) == ("RUN_ERROR", "llm_error")
    assert seen["stop"]["length"] < len(WORDS)
    assert await eventually(lambda: is_cancelled(client, "agui-stop"))


async def test_use_chat_of_the_ai_sdk(server: HectorServer, client: httpx.AsyncClient, tmp_path: Path) -> None:
    seen = await play("ui_chat.mjs", server, tmp_path)

    approval = seen["approval"]
    assert approval["wrote"] == [
        "step-start",
        "Let me create that file...",
        "write_file output-available",
        "step-start",
        "Now let me test it...",
        "execute_command output-available",
        "step-start",
        "The program works correctly!",
    ]
    assert approval["asked"][-1] == "execute_command approval-requested"
    assert approval["first"][-3:] == ["execute_command output-available", "step-start", "The program is gone."]
    assert approval["second"][-3:] == ["execute_command output-denied", "step-start", "Then I leave it where it is."]
    assert approval["added"] == 4  # two questions and two answers: an answer that goes on is no new message

    assert seen["question"]["parts"][-1] == "That is what I thought."
    reload = seen["reload"]
    assert (reload["first"], reload["again"], reload["thinking"]) == ([WORDS], [WORDS], "I count.")
    assert (reload["messages"], reload["idle"], reload["fresh"]) == (2, ["ready", 0], ["ready", 0])
    assert seen["cancel"]["status"] == "ready"
    assert 0 < seen["cancel"]["length"] < len(WORDS)
    assert seen["failure"] == {"status": "error", "error": "The model 'scripted' failed: no power"}
    assert seen["regenerate"] == {"messages": 2, "is_new": True, "status": "ready"}
    assert await eventually(lambda: is_cancelled(client, "stop"))


@pytest.mark.parametrize("agent", ["coder", "assistant", "broken"])
async def test_the_validator_of_ag_ui_finds_no_error(server: HectorServer, tmp_path: Path, agent: str) -> None:
    report = await run(PROGRAMS / "ag-ui-validate", f"{server.base_url}/agents/{agent}/agui", folder=tmp_path)
    assert "0 errors, 0 warnings" in report
