"""The README of the client: its programs print what it shows, its tables are those of the code."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hector_client.events import KINDS
from tests.docs.pages import ROOT, Block, blocks
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = ROOT / "clients" / "python" / "README.md"
TEXT = PAGE.read_text(encoding="utf-8")
SETTINGS: dict[str, Any] = {
    "llms": {
        "demo": {"type": "scripted", "script": [{"text": "Quantum computing uses quantum mechanics.", "delay_ms": 20}]}
    },
    "agents": {"assistant": {"llm": "demo"}},
}
PROGRAMS = [
    (block, after.text if after.language == "text" else None)
    for block, after in pairwise(blocks(PAGE))
    if block.language == "python"
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def assistant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("readme")), SETTINGS)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.mark.parametrize(("program", "shown"), PROGRAMS, ids=[f"line {program.line}" for program, _ in PROGRAMS])
async def test_a_program_prints_what_is_shown(program: Block, shown: str | None, assistant: HectorServer) -> None:
    assert program.text.count("http://localhost:8080") >= 1
    assert shown is not None, "show what it prints"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program.text.replace("http://localhost:8080", assistant.base_url),
        env={"PYTHONPATH": str(PAGE.parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = [part.decode() for part in await process.communicate()]

    assert (process.returncode, out.strip()) == (0, shown.strip()), err


async def test_the_table_has_every_event() -> None:
    section = TEXT.partition("\n## Events\n")[2]
    shown = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }

    assert shown == {kind.__name__ for kind in KINDS.values()} | {"Offline", "Online"}


async def test_a_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (PAGE.parent / link).exists(), link
