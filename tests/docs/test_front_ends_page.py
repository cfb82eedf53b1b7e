"""The programs of the page about front ends run in Node against the demo, with the packages that they name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.tools import NODE_MODULES, run
from tests.compat.front_ends.conftest import settings
from tests.docs.pages import ROOT, Block, blocks
from tests.fixtures.server import HectorServer

PAGE = ROOT / "docs" / "front-ends.md"
SAID = {
    "@ag-ui/client": "Then I leave it where it is.",
    "ai": "Let me create that file...Now let me test it...The program works correctly!",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    made = HectorServer(Path(tmp_path_factory.mktemp("docs")), settings())
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def programs() -> list[Block]:
    return [block for block in blocks(PAGE) if block.language == "js"]


def test_there_is_a_program_for_each_package() -> None:
    assert len(programs()) == len(SAID)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("block", programs(), ids=lambda block: f"line {block.line}")
async def test_a_program_of_the_page_prints_the_answer(block: Block, server: HectorServer, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "page.mjs").write_text(block.text.replace("http://localhost:8080", server.base_url), encoding="utf-8")

    said = await run("node", "page.mjs", folder=tmp_path)

    (package,) = [name for name in SAID if f'from "{name}"' in block.text]
    assert said.strip() == SAID[package]
