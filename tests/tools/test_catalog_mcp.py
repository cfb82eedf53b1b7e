"""Tools of MCP servers in the catalog: who has them, of which class, and that they come while the server runs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.config.root import Config
from app.domain.act import ToolClass
from app.tools.agent_tools import AgentTools
from app.tools.base import ToolResult
from app.tools.catalog import Catalog, build_catalog
from tests.fixtures.eventually import eventually
from tests.tools.test_catalog import Asking, configured, context

SERVER = Path(__file__).parents[1] / "fixtures" / "mcp" / "sdk_server.py"


def demo(folder: Path, agents: str, **said: object) -> Config:
    server = {"command": sys.executable, "args": [str(SERVER), str(folder)], **said}
    return configured(folder, f"tools: {{mcp: {{demo: {json.dumps(server)}}}}}\nagents: {agents}\n")


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Catalog]:
    """A catalog whose MCP servers are connected."""
    catalog = build_catalog(config)
    await catalog.open()

    async def are_connected() -> bool:
        return all(server.state == "connected" for server in catalog.servers)

    try:
        await eventually(are_connected, within=30)
        yield catalog
    finally:
        await catalog.close()


def of(catalog: Catalog, config: Config, agent: str) -> AgentTools:
    found = catalog.for_agent(Asking(agent, config.agents[agent]))
    assert found is not None
    return found


async def test_an_agent_has_a_server_a_tool_or_a_pattern_of_it(tmp_path: Path) -> None:
    config = demo(
        tmp_path,
        "{whole: {tools: [demo]}, one: {tools: [mcp__demo__add]}, some: {tools: ['mcp__demo__crash*', write_file]}}",
    )
    async with opened(config) as catalog:
        whole = list(of(catalog, config, "whole").tools)

        assert whole == sorted(whole)
        assert {"mcp__demo__add", "mcp__demo__slow", "mcp__demo__key"} <= set(whole)
        assert list(of(catalog, config, "one").tools) == ["mcp__demo__add"]
        some = list(of(catalog, config, "some").tools)
        assert some == ["mcp__demo__crash", "mcp__demo__crash_reading", "write_file"]
        found = await of(catalog, config, "one").tools["mcp__demo__add"].run({"a": 2, "b": 3}, context())
        assert isinstance(found, ToolResult)
        assert "5" in found.text


async def test_the_section_chooses_tools_their_class_and_who_needs_a_yes(tmp_path: Path) -> None:
    config = demo(
        tmp_path,
        "{a: {tools: [demo]}}",
        include=["add", "k*", "fail", "big"],
        exclude=["big"],
        classes={"fail": "read"},
        require_approval=["add"],
    )
    async with opened(config) as catalog:
        tools = of(catalog, config, "a")

        assert {name: tool.spec.tool_class for name, tool in tools.tools.items()} == {
            "mcp__demo__add": ToolClass.READ,
            "mcp__demo__fail": ToolClass.READ,
            "mcp__demo__key": ToolClass.IDEMPOTENT,
        }
        assert tools.decide("mcp__demo__add", {}).verdict == "ask"
        assert tools.decide("mcp__demo__fail", {}).verdict == "allow"
        assert of(catalog, config, "a") is tools


async def test_a_tool_that_comes_while_the_server_runs_is_offered_from_the_next_turn_on(tmp_path: Path) -> None:
    config = demo(tmp_path, "{a: {tools: [demo]}}")
    async with opened(config) as catalog:
        before = of(catalog, config, "a")

        await before.tools["mcp__demo__grow"].run({}, context())

        async def is_there() -> bool:
            return "mcp__demo__late" in of(catalog, config, "a").tools

        await eventually(is_there, within=10)
        assert "mcp__demo__late" not in before.tools
        assert len(of(catalog, config, "a").schemas) == len(before.schemas) + 1


async def test_a_broken_server_takes_no_other_tools_with_it(tmp_path: Path) -> None:
    config = configured(
        tmp_path, "tools: {mcp: {gone: {command: no-such-program}}}\nagents: {a: {tools: [gone, read_file]}}"
    )
    catalog = build_catalog(config)
    await catalog.open()
    try:

        async def is_broken() -> bool:
            return [server.state for server in catalog.servers] == ["broken"]

        await eventually(is_broken, within=30)
        assert list(of(catalog, config, "a").tools) == ["read_file"]
        assert "cannot be started" in str(catalog.servers[0].why)
    finally:
        await catalog.close()


async def test_a_call_that_was_begun_before_its_server_is_connected_waits_for_it(tmp_path: Path) -> None:
    config = demo(tmp_path, "{a: {tools: [mcp__demo__add]}, b: {tools: [mcp__demo__key]}, c: {}}")
    catalog = build_catalog(config)
    try:
        for_a, for_b = of(catalog, config, "a"), of(catalog, config, "b")
        tool = for_a.find("mcp__demo__add")
        assert tool is not None
        assert for_b.find("mcp__demo__add") is None
        assert for_a.decide("mcp__demo__add", {}).verdict == "ask"  # nobody knows yet what its section says of it
        opening = asyncio.create_task(catalog.open())
        found = await tool.run({"a": 2, "b": 3}, context())
        await opening
    finally:
        await catalog.close()

    assert isinstance(found, ToolResult)
    assert found.data == {"result": 5}
    assert for_a.schemas == ()
    assert catalog.for_agent(Asking("c", config.agents["c"])) is None
