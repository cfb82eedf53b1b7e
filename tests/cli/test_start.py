"""What a server does not do before it is ready, because nobody needs it yet. Held by what is loaded, not by a clock."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cli.command import ROOT
from tests.fixtures.server import HectorServer

PLAIN: dict[str, Any] = {
    "llms": {"main": {"type": "openai", "model": "gpt-4o-mini", "api_key": "sk-test", "host": "http://127.0.0.1:9/v1"}},
    "agents": {"assistant": {"llm": "main"}},
}
SELDOM_NEEDED = {
    *("alembic", "mako", "mcp", "grpc", "numpy", "onnxruntime"),
    *("app.tools.command", "app.tools.http_request", "app.tools.python_function", "app.compat.vectorshift.routes"),
}
NEEDED_WITH_TOOLS = {"jsonschema", "app.tools.validation"}
WITH_TOOLS: dict[str, Any] = {**PLAIN, "agents": {"assistant": {"llm": "main", "tools": ["todo_write"]}}}
IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)")


async def loaded_by_start(folder: Path, settings: dict[str, Any]) -> set[str]:
    """The modules that are imported by a start on a database that is there already."""
    server = HectorServer(folder, settings, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    await server.start()
    await server.stop()
    begin = len(server.log)
    await server.start()
    lines = server.log[begin:]
    await server.close()
    ready = next(number for number, line in enumerate(lines) if "ready at" in line)
    return {found[1] for line in lines[:ready] if (found := IMPORTED.match(line))}


async def test_a_server_loads_what_few_need_when_they_need_it(tmp_path: Path) -> None:
    loaded = await loaded_by_start(tmp_path, PLAIN)

    assert loaded > {"app.runtime", "fastapi", "openai", "sqlalchemy"}
    assert "httpx._client" in loaded, "a thread that loads it later fails the turns of meanwhile"
    assert loaded & (SELDOM_NEEDED | NEEDED_WITH_TOOLS) == set()


async def test_the_first_call_of_a_tool_finds_the_validation_loaded(tmp_path: Path) -> None:
    assert await loaded_by_start(tmp_path, WITH_TOOLS) >= NEEDED_WITH_TOOLS


def test_the_program_is_loaded_without_collections_and_never_searched_again() -> None:
    code = (
        "import gc\n"
        "from app.cli.loading import without_collections\n"
        "with without_collections():\n"
        "    assert not gc.isenabled()\n"
        "    import app.domain.event\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 1000, gc.get_freeze_count()\n"
        "assert not any(found is app.domain.event.__dict__ for found in gc.get_objects())\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
