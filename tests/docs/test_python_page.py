"""The page on the session handle: its programs print what it shows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from tests.docs.pages import ROOT, Block, blocks
from tests.docs.test_examples import SETTINGS
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAMS = [(one, after) for one, after in pairwise(blocks(ROOT / "docs" / "python.md")) if one.language == "python"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(Path(tmp_path_factory.mktemp("python")), SETTINGS)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.mark.parametrize(("program", "shown"), PROGRAMS, ids=[f"line {program.line}" for program, _ in PROGRAMS])
async def test_a_program_prints_what_is_shown(program: Block, shown: Block, server: HectorServer) -> None:
    assert shown.language == "text", "show what it prints"
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-W", "error", "-c", program.text],
        env={"PYTHONPATH": str(ROOT / "clients" / "python"), "HECTOR_SERVER": server.base_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = [part.decode() for part in await process.communicate()]

    assert (process.returncode, out.strip()) == (0, shown.text.strip()), err
