"""What is remembered of single words is short, and gone once somebody asked to forget."""

from __future__ import annotations

import ast
from pathlib import Path

from app.domain import word_cache
from app.domain.word_cache import cached_by_word, clear_word_caches
from app.llm import tokens
from app.memory import doc, names
from app.search import stems
from app.search.wordpiece import WordPiece
from app.search.words import terms

APP = Path(__file__).parents[2] / "app"
WITHOUT_WORDS = {
    "config/keys.py",
    "documents/folders.py",
    "documents/kinds.py",
    "domain/clock.py",
    "domain/word_cache.py",
    "storage/full_text.py",
    "storage/memory_index.py",
    "tools/sandbox.py",
}
"""Files with a cache of something that nobody says: numbers, patterns of the configuration, ends of names."""


def cached(function: object) -> int:
    return int(function.cache_info().currsize)  # type: ignore[attr-defined]


def test_caches_of_words_are_emptied() -> None:
    wordpiece = WordPiece()
    terms("remembering pixels")
    wordpiece.encode("remembering pixels", limit=10)
    tokens.count("remembering pixels")
    names.find_names("Deb", frozenset({"deborah"}))
    doc._names("Deborah")
    caches = [stems._stem, names._longer, doc._names, wordpiece._encode_short_word]
    assert all(cached(one) for one in caches)
    assert tokens._encoder("o200k")._cache

    clear_word_caches()

    assert [cached(one) for one in caches] == [0, 0, 0, 0]
    assert not tokens._encoder("o200k")._cache


def test_long_words_are_not_remembered() -> None:
    clear_word_caches()
    long = "remember" * 20 + "ing"
    wordpiece = WordPiece()
    assert terms(long) == [long[: stems.MAX_TERM]]
    wordpiece.encode(long, limit=10)
    names.find_names(long.capitalize(), frozenset({"deborah"}))

    assert [cached(one) for one in (stems._stem, names._longer, wordpiece._encode_short_word)] == [0, 0, 0]


def test_a_cache_that_is_gone_is_not_kept() -> None:
    before = len(word_cache._caches)
    used = cached_by_word(10)(len)
    used("word")
    assert len(word_cache._caches) == before + 1
    del used

    assert len(word_cache._caches) == before


def test_no_other_cache_holds_words() -> None:
    found = set()
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            if names & {"lru_cache", "cache"}:
                found.add(path.relative_to(APP).as_posix())

    assert found == WITHOUT_WORDS
