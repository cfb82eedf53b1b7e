"""The pages, and their fenced blocks in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language (or ""), its text, its first line; `before`: what stands since the block before."""

    language: str
    text: str
    line: int
    before: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found, end = [], 0
    for match in _FENCE.finditer(text):
        found.append(Block(match[1], match[2], text.count("\n", 0, match.start()) + 1, text[end : match.start()]))
        end = match.end()
    return found


def page_ids(page: Path) -> str:
    return page.name
