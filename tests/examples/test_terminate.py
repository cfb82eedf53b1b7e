"""The program that terminates a session prints what its README shows: after ids, the first piece and the error are
masked, that is the output of the script of the same purpose that other session clients have.

TERMINATE_RUNS=50 runs it as often on each database.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import yaml

from tests.docs.pages import ROOT, blocks
from tests.fixtures.server import HectorServer

FOLDER = ROOT / "examples" / "terminate"
RUNS = int(os.environ.get("TERMINATE_RUNS", "3"))
SHOWN = next(block.text for block in blocks(FOLDER / "README.md") if block.language == "text")


def masked(printed: str) -> str:
    for place in (r"(?<=connected: )\S+", r"(?<=terminated session: )\S+", r"(?<=first delta: ).+", r"(?<=Error: ).+"):
        printed = re.sub(place, "...", printed)
    return printed


async def run_program(base_url: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-X", "dev", "-W", "error", str(FOLDER / "terminate.py")],
        env={"PYTHONPATH": str(ROOT / "clients" / "python"), "HECTOR_SERVER": base_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = [part.decode() for part in await process.communicate()]
    return process.returncode, masked(out), err


async def test_the_program_prints_what_its_readme_shows(tmp_path: Path, database_url: str) -> None:
    settings = yaml.safe_load((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    server = HectorServer(tmp_path, settings | {"server": {"port": 0}, "storage": {"url": database_url}})
    await server.start()
    try:
        for _ in range(RUNS):
            code, out, err = await run_program(server.base_url)
            assert (code, out) == (0, masked(SHOWN)), err
            assert "Traceback" not in err
    finally:
        await server.close()
