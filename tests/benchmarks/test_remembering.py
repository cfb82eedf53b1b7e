"""The right memories come back: a floor below which no change may take recall (figures: docs/benchmarks.md)."""

from __future__ import annotations

import pytest

from app.search.minilm import MiniLM
from benchmarks.recall_adapter import Memory, WordsOnly
from benchmarks.remembering import measure


async def test_with_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MiniLM, "patience", 30.0)  # a busy machine is no matter of recall
    found = (await measure(Memory))["all"]
    assert len(found.places) == 127
    assert found.recall(10) >= 0.87
    assert found.mean_reciprocal_rank >= 0.54
    assert found.newest_first >= 0.5


async def test_by_words_alone() -> None:
    found = (await measure(WordsOnly))["all"]
    assert found.recall(10) >= 0.56
    assert found.mean_reciprocal_rank >= 0.35
