"""Names: finds the participants of a conversation in a text, and removes them from it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.domain.word_cache import cached_by_word
from app.search.stems import MAX_TERM
from app.search.words import STOP_WORDS, fold, words

ROLE_NAMES = frozenset(("user", "assistant", "human", "ai", "bot", "agent", "system", "tool", "you", "me", "anonymous"))
"""Speakers that are roles in the conversation, not names."""

_NAMED = re.compile(r"([^\W\d_][\w\-]*)((?:['’`]s?)?)")


def name_parts(speakers: Iterable[str]) -> frozenset[str]:
    """The folded words of the participants' names, without roles."""
    parts: set[str] = set()
    for speaker in speakers:
        said = [word for word in words(speaker) if len(word) > 1]
        parts.update(said if len(said) == 1 else [word for word in said if word not in STOP_WORDS])
    return frozenset(parts - ROLE_NAMES)


def find_names(text: str, names: frozenset[str]) -> set[str]:
    """The participants' names that occur in the text, in full or shortened (`Deb` for Deborah)."""
    found = set()
    if names:
        for match in _NAMED.finditer(text):
            name = _is_name(match.group(1), names)
            if name:
                found.add(name)
    return found


def without_names(text: str, names: frozenset[str]) -> str:
    """The text without the participants' names and their possessives."""
    if not names:
        return text
    cut = _NAMED.sub(lambda match: "" if _is_name(match.group(1), names) else match.group(0), text)
    return " ".join(cut.split())


def _is_name(word: str, names: frozenset[str]) -> str | None:
    folded = fold(word)
    if folded in names and (word[0].isupper() or len(folded) > 4):  # "will" and "may" are words, "Will" is a name
        return folded
    if 2 < len(folded) <= MAX_TERM and word[0].isupper() and folded not in STOP_WORDS:
        return _longer(folded, names)
    return None


@cached_by_word(4096)
def _longer(folded: str, names: frozenset[str]) -> str | None:
    fitting = [name for name in names if name.startswith(folded)]
    return fitting[0] if len(fitting) == 1 and len(fitting[0]) - len(folded) <= 5 else None
