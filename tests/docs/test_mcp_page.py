"""The page about MCP servers: its first configuration works with the program that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from app.config.load import load_config
from app.tools.catalog import build_catalog
from app.tools.mcp.schemas import MAX_WEIGHT
from tests.clients.tools import PROGRAMS
from tests.docs.pages import ROOT, blocks
from tests.fixtures.eventually import eventually

PAGE = ROOT / "docs" / "mcp.md"


async def test_the_tools_of_the_first_configuration_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{PROGRAMS}:/usr/bin:/bin")
    first = next(block for block in blocks(PAGE) if block.language == "yaml")
    settings = yaml.safe_load(first.text)
    del settings["tools"]["mcp"]["handbook"]  # nobody is there
    settings["agents"]["assistant"]["tools"] = ["time"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    catalog = build_catalog(load_config(path, environ={}).config)

    async def is_there() -> bool:
        return catalog.servers[0].state == "connected"

    await catalog.open()
    try:
        await eventually(is_there, within=40)
        status = catalog.servers[0]
    finally:
        await catalog.close()

    assert (status.tools, status.left_out) == (2, ())


def test_the_page_says_what_the_code_does() -> None:
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "app" / "tools" / "mcp").glob("*.py"))

    (key,) = re.findall(r'^KEY = "(.*)"$', code, re.MULTILINE)
    (extension,) = re.findall(r'^EXTENSION = "(.*)"$', code, re.MULTILINE)
    assert f"`{key}`" in text
    assert f"`{extension}`" in text
    assert "max_tools: int = 10_000" in code
    assert "more than 10,000 tools" in text
    assert MAX_WEIGHT == 1_000
    assert (ROOT / "tests/tools/mcp/conformance_client.py").exists()
