"""Variables beside the configuration: `.env.local` and `.env`. The environment itself always wins."""

from __future__ import annotations

import re
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*")
_QUOTED = re.compile(r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"(?=\s*(?:#|$))""")
_ESCAPES = {"n": "\n", "t": "\t"}


def read_dotenv(folder: Path) -> dict[str, str]:
    """The variables of both files, `.env.local` before `.env`; lines of another form are passed over."""
    found: dict[str, str] = {}
    for name in (".env", ".env.local"):
        path = folder / name
        try:
            if path.is_file():
                found |= _variables(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def _variables(text: str) -> dict[str, str]:
    matches = [match for line in text.splitlines() if (match := _LINE.fullmatch(line)) is not None]
    return {match["name"]: _value(match["value"]) for match in matches}


def _value(text: str) -> str:
    quoted = _QUOTED.match(text)
    if quoted is None:
        return re.sub(r"(^|\s+)#.*", "", text)
    if quoted["single"] is not None:
        return quoted["single"]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), quoted["double"])
