"""Writes `hector_client/sync` from `hector_client/_async`: the same modules without `await`. Needs ruff.

python clients/python/make_sync.py

Written by hand in both are the modules in `BY_HAND`: what they wait with is not the same.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "hector_client"
BY_HAND = frozenset({"__init__.py", "connection.py", "default.py"})
_LINES = (
    # `yield from` hands on what a loop would; a generator without `await` can do it.
    (r"async for (\w+) in ([^\n]+):\n\s+yield \1\n", r"yield from \2\n"),
)
_WORDS = (
    (r"`async for", "`for"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\[async ", "["),
    (r"\bawait ", ""),
    (r"\basyncio\.sleep", "time.sleep"),
    (r"^import asyncio$", "import time"),
    (r"\bAsync(?=Generator|Driver|Connection|Client|Base)", ""),
    (r"\baclosing\b", "closing"),
    (r"\b__a(?=enter__|exit__|iter__)", "__"),
    (r"\.a(?=close\(|read\()", "."),
    (r"\banext\(", "next("),
    (r"hector_client\._async", "hector_client.sync"),
)


def translate(text: str, name: str) -> str:
    """The synchronous form of the module `name`."""
    for pattern, other in [*_LINES, *_WORDS]:
        text = re.sub(pattern, other, text, flags=re.MULTILINE)
    return _format(f"# Written by make_sync.py: change _async/{name} instead.\n{text}")


def translations() -> dict[Path, str]:
    """What each generated file has to contain."""
    modules = sorted((PACKAGE / "_async").glob("*.py"))
    return {
        PACKAGE / "sync" / module.name: translate(module.read_text(encoding="utf-8"), module.name)
        for module in modules
        if module.name not in BY_HAND
    }


def _format(text: str) -> str:
    for command in (["check", "--select", "I", "--fix", "--quiet"], ["format"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(PACKAGE / "sync" / "module.py"), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


if __name__ == "__main__":
    for path, text in translations().items():
        path.write_text(text, encoding="utf-8")
