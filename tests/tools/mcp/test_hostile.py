"""Servers that do what no honest server does."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from app.tools.base import ToolResult, ToolUnknown
from app.tools.mcp import Limits
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_servers import QUICK, Shown, call, in_state, lines_of, opened, raw_server, sdk_server


async def test_tools_that_cannot_be_used_are_left_out_each_with_its_reason() -> None:
    async with opened(raw_server("broken")) as server:
        names = [tool.spec.name for tool in server.tools()]
        reasons = dict(line.split(": ", 1) for line in server.status.left_out)

    assert names == ["mcp__raw__good", "mcp__raw__recursive"]
    assert reasons == {
        "no_object": "its schema is not that of an object",
        "no_schema": "it is malformed in inputSchema",
        "wrong_type": "its schema is not valid: 'nonsense' is not valid under any of the given schemas",
        "elsewhere": "its schema refers to 'http://127.0.0.1:9/schema', which is not a place in it",
        "itself": "its schema refers to itself without end",
        "laughs": "its schema grows to more than 1000 schemas by its references",
        "deep": "it is nested too deeply",
        "large": "its schema is larger than 65536 characters",
        "annotated": "it is malformed in annotations",
        "17": "it is malformed in name",
        "": "it has no name",
        "str": "it is malformed in ",
    }


async def test_names_are_made_fit_for_providers_and_stay_different() -> None:
    async with opened(raw_server("names")) as server:
        names = [tool.spec.name for tool in server.tools()]
        status = server.status

    assert len(names) == len(set(names)) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)
    assert "mcp__raw__plain" in names
    assert status.left_out == ("plain: the server lists this name twice",)


async def test_thousands_of_tools_are_listed_in_the_order_of_their_names() -> None:
    async with opened(raw_server("many")) as server:
        await in_state(server, "connected")
        names = [tool.spec.name for tool in server.tools()]

    assert names == [f"mcp__raw__tool{n:04d}" for n in range(5000)]


async def test_no_more_tools_are_taken_than_the_limit() -> None:
    limits = Limits(max_tools=10, connect_timeout=20, exit_timeout=0.3)
    async with opened(raw_server("many", limits=limits)) as server:
        assert len(server.tools()) == 10
        assert server.status.left_out[0] == "tool0010: more than 10 tools"
        assert len(server.status.left_out) == 20


async def test_a_message_without_end_ends_the_connection() -> None:
    limits = Limits(max_message_bytes=1_000_000, connect_timeout=20, exit_timeout=0.3, retry_min=0.02)
    async with opened(raw_server("endless", limits=limits)) as server:
        with pytest.raises(ToolUnknown, match="MCP server 'raw' sent a message of more than 1000000 bytes"):
            await call(server, "one")
        await in_state(server, "connected")


async def test_a_garbled_answer_leaves_the_call_unknown() -> None:
    async with opened(raw_server("garbled")) as server:
        with pytest.raises(ToolUnknown, match="answered with what is no result of the protocol"):
            await call(server, "one")


async def test_what_is_no_message_is_passed_over() -> None:
    async with opened(raw_server("noisy")) as server:
        found = await call(server, "one")

    assert found == ToolResult(text="one")


async def test_a_server_that_bears_no_new_protocol_is_spoken_to_in_the_old_one(tmp_path: Path) -> None:
    async with opened(raw_server("shy", str(tmp_path))) as server:
        status = await in_state(server, "connected")

    assert status.protocol == "2025-11-25"
    assert len(lines_of(tmp_path / "starts")) == 2


async def test_floods_of_progress_reach_readers_thinned_out() -> None:
    shown = Shown()
    async with opened(raw_server("talkative")) as server:
        (one,) = server.tools()
        found = await one.run({}, shown.context)

    assert found == ToolResult(text="done")
    assert 1 <= len(shown.percents) < 300


async def test_a_server_that_says_again_and_again_that_its_tools_changed_is_asked_in_moderation() -> None:
    async with opened(raw_server("restless")) as server:
        for _ in range(20):
            assert await call(server, "one") == ToolResult(text="one")
        assert len(server.tools()) == 1


async def test_a_huge_result_is_cut_and_says_so(tmp_path: Path) -> None:
    limits = Limits(max_result_chars=1_000, connect_timeout=20, exit_timeout=0.3)
    async with opened(sdk_server(tmp_path, limits=limits)) as server:
        found = await call(server, "big", {"characters": 100_000})

    assert isinstance(found, ToolResult)
    assert found.text == "x" * 1_000 + "\n[cut: 1000 of 100000 characters]"
    assert found.data is None


async def test_other_contents_are_told_by_kind_and_size(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path)) as server:
        found = await call(server, "contents")

    assert isinstance(found, ToolResult)
    assert found.text == "a picture:\n[image, image/png, 5 bytes]\n[resource memo://1, text/plain]\nbuy milk"


async def test_tools_that_come_later_are_found(tmp_path: Path) -> None:
    async with opened(sdk_server(tmp_path, limits=QUICK)) as server:
        # The stream that tells of changes is opened after the first list; a change before that is not told.
        await asyncio.sleep(0)
        await call(server, "grow")

        async def has_come() -> bool:
            return any(tool.spec.name == "mcp__demo__late" for tool in server.tools())

        await eventually(has_come)
