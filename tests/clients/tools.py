"""The foreign programs that `make install-dev` has put beside the server, and how they are run."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.fixtures.server import ROOT

HERE = Path(__file__).parent
NODE_MODULES = HERE / "typescript" / "node_modules"
PROGRAMS = ROOT / ".venv" / "clients" / "bin"


async def run(
    *command: str | Path, folder: Path, environment: Mapping[str, str] | None = None, with_errors: bool = True
) -> str:
    """What a command writes. Raises AssertionError with it if the command fails.

    `environment`: further variables. Without `with_errors` what it writes to standard error is left out.
    """
    program = Path(command[0])
    assert shutil.which(program), f"{program} is missing; `make install-dev` installs it"
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(folder),
            "NO_COLOR": "1",
            **(environment or {}),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if with_errors else asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    assert process.returncode == 0, f"{program.name}: {said.decode()}{(errors or b'').decode()}"
    return said.decode()
