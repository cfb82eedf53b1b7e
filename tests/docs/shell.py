"""The shell that runs the lines of a page."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

JQ = """#!{python}
import json, re, sys
found = json.load(sys.stdin)
for name, place in re.findall(r"\\.(\\w+)|\\[(\\d+)\\]", sys.argv[-1]):
    found = found[name] if name else found[int(place)]
print(found)
"""


def stand_in_for_jq(folder: Path) -> None:
    """Enough of jq for the examples, where there is none."""
    if shutil.which("jq") is None:
        path = folder / "jq"
        path.write_text(JQ.format(python=sys.executable), encoding="utf-8")
        path.chmod(0o755)


async def run(arguments: list[str], folder: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "ALICE_KEY": "a-key", "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()
