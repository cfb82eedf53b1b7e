"""The page about keys: its configuration serves, its lines do what it says, its table of scopes is ours."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from app.domain.principal import Scope
from tests.cli.command import environment
from tests.docs.pages import ROOT, blocks
from tests.docs.test_examples import assert_like
from tests.fixtures.server import HectorServer

PAGE = ROOT / "docs" / "auth.md"
TEXT = PAGE.read_text(encoding="utf-8")
OPERATOR = "key-of-operator-0000"
AGENTS = {"helper": {"llm": "demo"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    keys = yaml.safe_load(next(block.text for block in blocks(PAGE) if block.language == "yaml"))
    names = re.findall(r"\$\{(\w+)\}", json.dumps(keys))
    server = HectorServer(
        tmp_path_factory.mktemp("page"),
        {
            "embedders": {"default": {"type": "none"}},
            "llms": {"demo": {"type": "scripted", "script": ["Hello."]}},
            "agents": AGENTS,
            **keys,
        },
        environment={name: OPERATOR if name == "OPERATOR_KEY" else f"secret-of-{name}-0" for name in names},
    )
    await server.start()
    yield server
    await server.close()


async def run(script: str, server: HectorServer, folder: Path) -> str:
    """Lines of the page in one shell, in which `hector` is this one."""
    program = folder / "hector"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m app "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    named = {"HECTOR_SERVER": server.base_url, "OPERATOR_KEY": OPERATOR, "PATH": f"{folder}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        script.replace("http://localhost:8080", server.base_url),
        cwd=folder,
        env=environment(folder, named),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_lines_of_the_page_do_what_it_says(server: HectorServer, tmp_path: Path) -> None:
    begin, rotate, *asked = [block.text for block in blocks(PAGE) if block.language == "bash"]
    made = await run(begin, server, tmp_path)
    assert made.startswith("hk_")
    assert "revoked key_" in made
    again = f"export HECTOR_TOKEN=$OPERATOR_KEY\nhector keys create shop > /dev/null\n{rotate}\nhector keys list"
    told = await run(again, server, tmp_path)
    assert "revoked key_" in told
    assert told.splitlines()[-1].count("active") == 1
    curl = next(line for line in asked if "/admin/keys" in line).replace('"shop"', '"other"')
    shown: Any = json.loads(next(block.text for block in blocks(PAGE) if block.language == "json"))
    assert_like(json.loads(await run(curl, server, tmp_path)), shown, "auth.md")


def test_the_table_has_every_scope() -> None:
    section = TEXT.partition("\n## Scopes\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {scope.value for scope in Scope} - {"server"}
