"""docs/tools.md and docs/approvals.md: their tables are the code's, their functions are tools, their rules hold."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from app.cli.tools import _NO_SERVER
from app.config.acting import Limits
from app.config.load import load_config
from app.domain.act import NEXT, ActState
from app.domain.event import EventKind
from app.doors.schemas.acts import Decide, Resolve
from app.tools.base import Tool, ToolContext
from app.tools.build import build_tool
from app.tools.sandbox import Level
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.shell import run
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good
from tests.fixtures.upstream import Upstream

PAGE, APPROVALS = ROOT / "docs" / "tools.md", ROOT / "docs" / "approvals.md"
TEXT, APPROVALS_TEXT = PAGE.read_text(encoding="utf-8"), APPROVALS.read_text(encoding="utf-8")
CONFIG = """
llms: {demo: {type: scripted}}
agents: {assistant: {llm: demo}, other: {llm: demo}}
document_stores: {handbook: {paths: ["."]}}
"""


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """The rows of the table under a heading, by the word in their first cell."""
    part = re.split(r"^#+ ", text.partition(f"\n{heading}\n")[2], flags=re.MULTILINE)[0]
    cells = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {cell[0].strip("`"): cell[1:] for cell in cells}


def block(page: Path, language: str, word: str) -> Block:
    return next(block for block in blocks(page) if block.language == language and word in block.text)


def built_in_tools(folder: Path) -> dict[str, Tool]:
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    config = load_config(folder / "config.yaml", environ={}).config
    made = {name: build_tool(name, section, config, _NO_SERVER) for name, section in config.tools.named.items()}
    tools = {
        name: built.for_agent("assistant", config.agents["assistant"], config.agents) for name, built in made.items()
    }
    return {name: tool for name, tool in tools.items() if tool is not None}


def test_the_table_of_built_in_tools_has_each_with_its_arguments_and_class(tmp_path: Path) -> None:
    found = {}
    for name, tool in built_in_tools(tmp_path).items():
        spec, required = tool.spec, tool.spec.parameters.get("required", [])
        arguments = [each if each in required else f"{each}?" for each in spec.parameters["properties"]]
        found[name] = (sorted(arguments), spec.tool_class.value)
    shown = {
        name: (sorted(re.findall(r"`([^`]+)`", cells[0])), cells[1])
        for name, cells in rows(TEXT, "## The built-in tools").items()
    }

    assert shown == found


def test_the_table_of_states_has_each_with_those_that_may_follow() -> None:
    shown = {
        state: set(re.findall(r"`(\w+)`", cells[1] if len(cells) > 1 else ""))
        for state, cells in rows(TEXT, "## What becomes of a call").items()
    }

    assert shown == {state.value: {after.value for after in NEXT[state]} for state in ActState}


def test_what_the_page_says_of_ctx_is_there() -> None:
    shown = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", "".join(re.findall(r"^\| (`[^|]+) \|", TEXT, re.MULTILINE))))
    named = {"progress", "is_stopped", "idempotency_key", "keep", "session_id", "turn_id", "answer", "result_address"}

    assert named <= shown
    assert [name for name in (*named, "kept", "call_id", "agent", "user_id") if not _has(name)] == []


def _has(name: str) -> bool:
    return name in ToolContext.__dataclass_fields__ or hasattr(ToolContext, name)


def test_limits_levels_and_bodies_are_all_named() -> None:
    limits = yaml.safe_load(block(PAGE, "yaml", "limits").text)["agents"]["coder"]["limits"]

    assert set(limits) - {"session"} == set(Limits.model_fields)
    assert list(rows(TEXT, "## The sandbox")) == [level.value for level in Level]
    assert list(rows(APPROVALS_TEXT, "## Answer")) == list(Decide.model_fields)
    for field in Resolve.model_fields:
        assert f'"{field}"' in APPROVALS_TEXT


def test_the_page_on_streams_names_every_kind_of_frame() -> None:
    page = (ROOT / "docs" / "sessions-and-streaming.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE))))

    assert {kind.value for kind in EventKind} - {"text"} - shown == set()


RULES = [
    ("execute_command", '{"command": "rm -r data"}', "ask"),
    ("execute_command", '{"command": "python3 hello.py"}', "allow"),
    ("write_file", '{"path": "x/../.env", "content": ""}', "deny"),
    ("write_file", '{"path": "notes/a.md", "content": ""}', "ask"),
    ("read_file", '{"path": "notes/a.md"}', "allow"),
]


@pytest.mark.parametrize(("tool", "arguments", "verdict"), RULES)
async def test_the_rules_of_the_page_do_what_it_says(tool: str, arguments: str, verdict: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block(APPROVALS, "yaml", "permissions").text, encoding="utf-8")
    line = block(APPROVALS, "bash", "hector rules test").text
    assert line.startswith('hector rules test coder execute_command \'{"command": "rm -r data"}\'')
    code, out, err = await run([sys.executable, "-m", "app", "rules", "test", "coder", tool, arguments], tmp_path)

    assert code == 0, err
    assert out.startswith(f"{verdict}: ")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The functions of the page, beside a configuration that is the page's."""
    (tmp_path / "shop_tools.py").write_text(block(PAGE, "python", "shop_tools").text, encoding="utf-8")
    return tmp_path


async def test_the_functions_of_the_page_are_tools(shop: Path) -> None:
    async with Upstream() as upstream:
        settings = yaml.safe_load(block(PAGE, "yaml", "shop_tools").text)
        settings["llms"] = {"gpt": {"type": "openai", "model": "m", "host": upstream.base_url, "api_key": "k" * 20}}
        settings["tools"]["pay"]["require_approval"] = False
        server = HectorServer(shop, settings)
        await server.start()
        try:
            async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, timeout=30) as client:
                talk = await Talk.begin(client, agent="shop")
                for call in (
                    ("find_order", {"number": "A-17", "with_items": True}),
                    ("find_order", {"number": "A-18"}),
                    ("find_order", {"order": "A-17"}),
                    ("pay", {"order": "A-17", "amount": 39}),
                    ("print_label", {"order": "A-17"}),
                ):
                    upstream.answer(calls=[call])
                waiting = await talk.say("My lamp is broken")
                calls = good(await client.get(f"{talk.path}/calls"))["calls"]
                told = {tool["function"]["name"]: tool["function"] for tool in upstream.requests[0].json["tools"]}
                events = (await client.get(f"{talk.path}/events")).text
        finally:
            await server.close()

    assert (waiting["status"], waiting["waiting_for"]) == ("waiting", "result")
    assert [call["state"] for call in calls] == ["settled", "failed", "refused", "settled", "waiting"]
    assert calls[0]["result"] == {"number": "A-17", "paid": 39.0, "items": ["a lamp"]}
    assert calls[1]["outcome"] == "There is no order A-18."
    assert told["find_order"]["description"] == "Look an order up."
    assert (
        told["find_order"]["parameters"]["properties"]["number"]["description"] == "The order's number, such as A-17."
    )
    assert told["find_order"]["parameters"]["required"] == ["number"]
    assert list(told["pay"]["parameters"]["properties"]) == ["order", "amount"]
    assert "50 %" in events
