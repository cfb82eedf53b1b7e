"""The page about gRPC: its lines, run in order against a real server, do what the page says."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.domain.event import EventKind
from app.rpc.generated.hector_pb2 import DESCRIPTOR, MessageChunk
from tests.clients.tools import PROGRAMS
from tests.docs.pages import ROOT, Block, blocks
from tests.fixtures.server import HectorServer

PAGE = ROOT / "docs" / "grpc.md"
WORDS = "The capital of France is Paris."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    server = HectorServer(
        tmp_path_factory.mktemp("page"),
        {
            "server": {"grpc_port": 0},
            "embedders": {"default": {"type": "none"}},
            "llms": {"demo": {"type": "scripted", "script": [WORDS]}},
            "agents": {"assistant": {}},
        },
    )
    await server.start()
    await server.wait_for_grpc()
    yield server
    await server.close()


async def run(block: Block, server: HectorServer, folder: Path) -> tuple[int, str]:
    text = block.text.replace("localhost:50051", server.grpc_address)
    program = [sys.executable, "-c", text] if block.language == "python" else ["bash", "-ec", text]
    process = await asyncio.create_subprocess_exec(
        *program,
        cwd=folder,
        env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_lines_of_the_page_do_what_it_says(server: HectorServer, tmp_path: Path) -> None:
    _, seed, python, unknown, said, health = blocks(PAGE)

    code, out = await run(seed, server, tmp_path)
    assert code == 0, out
    assert "hector.v1.A2AService.StreamMessage" in out
    assert out.count('"done": true') == 2
    assert '"terminated"' in out
    assert await run(python, server, tmp_path) == (0, WORDS + "\n")
    code, out = await run(unknown, server, tmp_path)
    assert code != 0
    assert out.startswith(said.text)
    assert '"SERVING"' in (await run(health, server, tmp_path))[1]


def test_the_page_names_every_method() -> None:
    text = PAGE.read_text(encoding="utf-8")

    methods = [method.name for method in DESCRIPTOR.services_by_name["A2AService"].methods]
    assert [name for name in methods if f"`{name}`" not in text] == []


def test_every_kind_of_event_has_its_field() -> None:
    content_only = {EventKind.TEXT, EventKind.THINKING, EventKind.DEBUG}
    fields = set(MessageChunk.DESCRIPTOR.fields_by_name)
    assert {kind for kind in EventKind if kind not in content_only and kind.value not in fields} == set()
