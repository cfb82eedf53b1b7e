"""Reach: what tools say of what they read and send, and what the configuration says instead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from mcp import types

from app.config.agent import AgentConfig
from app.config.load import load_config
from app.config.tool_types import BUILT_IN
from app.domain.label import Reach
from app.tools.base import ToolContext, ToolResult, ToolSpec
from app.tools.catalog import build_catalog
from app.tools.mcp.endpoint import Choice
from app.tools.mcp.listing import listing_of
from app.tools.mcp.schemas import SchemaChecks
from app.tools.ports import AgentCall, Ports
from app.tools.search import Hit, Search


@dataclass(frozen=True)
class Asking:
    name: str
    config: AgentConfig


async def _find(*_given: object) -> list[Hit]:
    return [Hit("a memory", "x"), Hit("a memory", "y", trust="web")]


async def _read(*_given: object) -> str | None:
    return None


async def _call(_call: AgentCall, _context: ToolContext) -> ToolResult:
    return ToolResult("")


def specs(folder: Path, text: str) -> dict[str, ToolSpec]:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    config = load_config(path, environ={}).config
    catalog = build_catalog(config, Ports(find=_find, read_whole=_read, call_agent=_call))
    tools = catalog.for_agent(Asking("a", config.agents["a"]))
    assert tools is not None
    assert not catalog.broken
    return {name: tool.spec for name, tool in tools.tools.items()}


def test_built_in_tools_say_how_far_they_reach(tmp_path: Path) -> None:
    found = specs(
        tmp_path,
        f"agents: {{a: {{tools: {list(BUILT_IN)}}}, b: {{}}}}\n"
        "tools: {execute_command: {allowed_commands: [ls], network: true}, http_request: {allowed_hosts: ['*']}}",
    )

    assert {name: (spec.reads, spec.sends) for name, spec in found.items()} == {
        **dict.fromkeys(["search", "read_file", "list_files", "search_replace"], ("fixed", "none")),
        **dict.fromkeys(["read_result", "ask_user"], ("fixed", "none")),
        **dict.fromkeys(["write_file", "todo_write", "agent_call"], ("none", "none")),
        **dict.fromkeys(["http_request", "execute_command"], ("open", "open")),
    }


def test_a_request_to_named_hosts_and_a_command_without_network_go_nowhere_else(tmp_path: Path) -> None:
    found = specs(
        tmp_path,
        "agents: {a: {tools: [execute_command, http_request]}}\n"
        "tools: {execute_command: {allowed_commands: [ls], sandbox: bwrap}, "
        "http_request: {allowed_hosts: [a.example]}}",
    )

    assert (found["execute_command"].reads, found["execute_command"].sends) == ("fixed", "none")
    assert (found["http_request"].reads, found["http_request"].sends) == ("fixed", "fixed")


@pytest.mark.parametrize("said", ["type: http_request, allowed_hosts: [a.example]", "python: 'own:own'"])
def test_the_section_of_a_tool_says_otherwise(tmp_path: Path, said: str) -> None:
    (tmp_path / "own.py").write_text("def own(question: str) -> str:\n    return question\n")
    found = specs(
        tmp_path,
        f"agents: {{a: {{tools: [mine]}}}}\ntools: {{mine: {{{said}, reads: open, sends: none, secrecy: private}}}}",
    )

    assert (found["mine"].reads, found["mine"].sends, found["mine"].labels) == ("open", "none", ("web", "private"))


def listed(hint: bool | None, choice: Choice) -> tuple[Reach, Reach]:
    tool = types.Tool(
        name="get_time", input_schema={"type": "object"}, annotations=types.ToolAnnotations(open_world_hint=hint)
    )
    [found] = listing_of("clock", [tool], choice, SchemaChecks(), is_modern=True, max_tools=10).tools
    return found.spec.reads, found.spec.sends


def test_a_tool_of_an_mcp_server_reads_what_anybody_writes_unless_it_or_the_configuration_says_otherwise() -> None:
    assert listed(None, Choice()) == ("open", "open")
    assert listed(False, Choice()) == ("fixed", "fixed")
    said = Choice(reads={"get_*": "fixed"}, sends={"mcp__clock__*": "none"})
    assert listed(None, said) == ("fixed", "none")


def test_the_section_of_an_mcp_server_is_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("tools: {mcp: {clock: {command: x, reads: {'*': fixed}, sends: {get_time: none}}}}")
    [server] = build_catalog(load_config(path, environ={}).config)._servers.values()

    assert (server._choice.reads, server._choice.sends) == ({"*": "fixed"}, {"get_time": "none"})


async def test_what_a_search_finds_is_as_little_trusted_as_the_least_trusted_of_it() -> None:
    result = await Search(_find).run({"query": "x"}, ToolContext("c", "s", "t", "a", "p", "ann"))

    assert result.trust == "web"
