"""The terms of documents: those of memories, none so long that a database refuses it (a line of base64 is one word)."""

from __future__ import annotations

from app.memory import text

LONGEST = 60


def terms(content: str) -> list[str]:
    return [term[:LONGEST] for term in text.terms(content)]
