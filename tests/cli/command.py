"""`hector …` as a shell runs it: a process of its own, its outputs and its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 25


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the machine's own configuration."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")]),
        "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", ""),
        "LANG": "C.UTF-8",
        **(extra or {}),
    }


@dataclass(frozen=True)
class Hector:
    """`server` is named by HECTOR_SERVER; without it a command looks around in `folder`."""

    folder: Path
    server: str | None = None

    async def start(
        self, *arguments: str, stdin: int = asyncio.subprocess.PIPE, env: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        named = {"HECTOR_SERVER": self.server} if self.server is not None else {}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app",
            *arguments,
            cwd=self.folder,
            env=environment(self.folder, {**named, **(env or {})}),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Result:
        process = await self.start(*arguments, env=env)
        return await ended(process, stdin)


async def ended(process: asyncio.subprocess.Process, stdin: str = "") -> Result:
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Result(process.returncode, out.decode(), err.decode())
