"""Which tools of a server are taken, and of which class they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.act import ToolClass
from app.tools.base import ToolUnknown
from tests.fixtures.mcp_servers import call, in_state, lines_of, opened, sdk_server


async def test_only_chosen_tools_are_taken(tmp_path: Path) -> None:
    include = ("c*", "mcp__demo__add")
    async with opened(sdk_server(tmp_path, include=include, exclude=("crash*",))) as server:
        await in_state(server, "connected")
        names = [tool.spec.name for tool in server.tools()]

    assert names == ["mcp__demo__add", "mcp__demo__children", "mcp__demo__contents"]


async def test_a_tool_is_not_called_twice_against_the_word_of_the_configuration(tmp_path: Path) -> None:
    classes = {"crash_reading": ToolClass.ONCE, "fail": ToolClass.READ}
    async with opened(sdk_server(tmp_path, classes=classes)) as server:
        await in_state(server, "connected")
        found = {tool.spec.name: tool.spec.tool_class for tool in server.tools()}
        with pytest.raises(ToolUnknown):
            await call(server, "crash_reading")

    assert (found["mcp__demo__crash_reading"], found["mcp__demo__fail"]) == (ToolClass.ONCE, ToolClass.READ)
    assert lines_of(tmp_path / "crash_reading") == ["begun"]
