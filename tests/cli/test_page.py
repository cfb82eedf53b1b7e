"""docs/cli.md: its commands exist, its examples run, its exit codes are the program's."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from app.cli.chat import HELP, Chat
from app.cli.failures import ExitCode
from tests.cli.command import environment
from tests.docs.pages import ROOT, blocks
from tests.fixtures.server import HectorServer

PAGE = ROOT / "docs" / "cli.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = [block for block in blocks(PAGE) if block.language == "bash" and block.text != "hector serve --dev\n"]
"""Those that need a server; how to start one is in tests/routers/test_development.py."""


def test_the_table_of_exit_codes_is_the_programs() -> None:
    shown = dict(re.findall(r"^\| (\d+) \| `(\w+)` \|", TEXT, re.MULTILINE))

    assert {int(number): name for number, name in shown.items()} == {code.value: code.name for code in ExitCode}


def test_the_page_and_help_name_every_command_of_chat() -> None:
    commands = set(Chat.commands) - {"/exit"}

    assert set(re.findall(r"^\| `(/\w+)", TEXT, re.MULTILINE)) == commands
    assert set(re.findall(r"^(/\w+)", HELP, re.MULTILINE)) == commands


@pytest_asyncio.fixture(loop_scope="function")
async def assistant(tmp_path: Path) -> AsyncIterator[HectorServer]:
    settings = {
        "server": {"shutdown_grace": "200ms"},
        "llms": {"demo": {"type": "scripted"}},
        "agents": {
            "assistant": {
                "llm": "demo",
                "memory": {"longterm": {"storage_scope": "conversational"}},
                "tools": ["write_file"],
            }
        },
        "embedders": {"default": {"type": "none"}},
        "document_stores": {"handbook": {"paths": ["config.yaml"]}},
    }
    server = HectorServer(tmp_path, settings)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def test_the_examples_run_one_after_the_other(assistant: HectorServer) -> None:
    folder = assistant.folder
    programs = {"hector": f'#!/bin/sh\nexec "{sys.executable}" -m app "$@"\n'}
    if shutil.which("jq") is None:
        programs["jq"] = "#!/bin/sh\nexec cat\n"
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    script = "set -e\n" + "".join([block.text for block in EXAMPLES])
    environ = environment(folder)
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        cwd=folder,
        env=environ | {"PATH": f"{folder}:{environ['PATH']}", "HECTOR_SERVER": assistant.base_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    out, err = [part.decode() for part in await process.communicate()]

    assert process.returncode == 0, err
    assert "What is my name?\n" in out
    assert '"message_count": 6' in out
    assert "\nok\n" in out
    assert "write_file" in out.partition("\nok\n")[2]
    assert "time: first" in err
