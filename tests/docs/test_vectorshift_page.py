"""The page about VectorShift programs: its program runs on a server with its configuration."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.clients.tools import PROGRAMS, run
from tests.docs.pages import ROOT, blocks
from tests.fixtures.server import HectorServer

PAGE = ROOT / "docs" / "vectorshift.md"


async def test_the_program_prints_the_answer_as_it_comes_and_the_history(tmp_path: Path) -> None:
    found = {block.language: block.text for block in blocks(PAGE)}
    answer = "In Sumer, some 4,500 years ago."
    settings = yaml.safe_load(found["yaml"]) | {"llms": {"local": {"type": "scripted", "script": [answer]}}}
    (tmp_path / "server").mkdir()
    server = HectorServer(tmp_path / "server", settings)
    await server.start()
    script = tmp_path / "program.py"
    script.write_text(found["python"], encoding="utf-8")
    assert "export VECTORSHIFT_BASE_URL=http://127.0.0.1:8080/v1" in found["sh"]
    environment = {"VECTORSHIFT_BASE_URL": f"{server.base_url}/v1", "VECTORSHIFT_API_KEY": "any"}

    said = await run(PROGRAMS / "python", script, folder=tmp_path, environment=environment)

    assert said == f"{answer}\nuser: When was the abacus invented?\nagent: {answer}\n"
    await server.close()
