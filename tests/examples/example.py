"""An example as a user has it: a copy of its folder, served from its configuration, asked by the lines of its README.

async with served("support", tmp_path, upstream) as example:
    upstream.answer(calls=[("pay", {...})])
    out, text = await example.ask()
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.docs.pages import ROOT, blocks
from tests.docs.shell import run, stand_in_for_jq
from tests.fixtures.server import HectorServer
from tests.fixtures.upstream import Upstream

EXAMPLES = ROOT / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/config.yaml"))
ADDRESS = "localhost:8080"
EVENT = re.compile(r"^data: (\{.*\})$", re.MULTILINE)


def serve_line(name: str) -> str:
    """The first command of its README."""
    return commands(name)[0]


def commands(name: str) -> list[str]:
    return [block.text for block in blocks(EXAMPLES / name / "README.md") if block.language == "bash"]


@dataclass(frozen=True)
class Example:
    name: str
    folder: Path
    server: HectorServer

    async def ask(self) -> tuple[str, str]:
        """What the curl lines of the README print, one after the other in one shell; and its chunks put together."""
        stand_in_for_jq(self.folder)
        lines = "\n".join(["set -u", *[text for text in commands(self.name) if "curl" in text]])
        script = lines.replace(ADDRESS, f"127.0.0.1:{self.server.port}")
        code, out, err = await run(["bash", "-c", script], self.folder)
        assert code == 0, err
        chunks = [json.loads(text)["chunk"] for text in EVENT.findall(out)]
        return out, "".join(chunks)


@asynccontextmanager
async def served(name: str, folder: Path, upstream: Upstream | None = None) -> AsyncIterator[Example]:
    """`upstream`: the model of those examples that have none of their own."""
    there = folder / name
    shutil.copytree(EXAMPLES / name, there, ignore=shutil.ignore_patterns("data", "workspace", "__pycache__"))
    environment = {"PYTHON": sys.executable}
    if upstream is not None:
        environment |= {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "no-key-at-all-here"}
    settings = yaml.safe_load((there / "config.yaml").read_text(encoding="utf-8"))
    server = HectorServer(there, settings, environment=environment)
    await server.start()
    try:
        yield Example(name, there, server)
    finally:
        await server.close()
