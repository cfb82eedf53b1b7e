"""BM25 over an inverted index."""

from __future__ import annotations

from collections import Counter

import pytest

from app.search import lexical
from app.search.lexical import Corpus, Matches, TermIndex, idf


class Text:
    def __init__(self, content: str) -> None:
        self.counts = Counter(content.split())
        self.length = self.counts.total()


def corpus(*contents: str) -> tuple[list[Text], Corpus[Text]]:
    texts = [Text(content) for content in contents]
    return texts, Corpus.of([TermIndex(texts)])


def test_a_rare_term_weighs_more_than_a_common_one_and_a_repeated_one_more_than_one_said_once() -> None:
    texts, whole = corpus("sea sky", "sea whale", "sea sea", "fog fog")
    scores = Matches(whole, ["sea", "whale"], b=0.2).scores
    assert sorted(scores, key=scores.__getitem__, reverse=True) == [texts[1], texts[2], texts[0]]


def test_the_score_is_okapi_bm25() -> None:
    texts, whole = corpus("sea sea whale", "sky")
    expected = idf(2, 1) * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
    assert Matches(whole, ["sea"], b=0.75).scores == {texts[0]: pytest.approx(expected)}


def test_shares_of_a_question_are_weighted_by_rarity() -> None:
    texts, whole = corpus("sea whale", "sea", "sea sky", "fog")
    matches = Matches(whole, ["sea", "whale", "unheard"], b=0.2)
    rarities = [idf(4, 3), idf(4, 1), idf(4, 0)]
    assert matches.share(matches.terms_in(texts[0])) == pytest.approx(sum(rarities[:2]) / sum(rarities))
    assert matches.share(matches.terms_among({"whale", "other"})) == pytest.approx(rarities[1] / sum(rarities))
    assert matches.share(matches.terms_in(texts[3])) == 0


def test_a_common_term_brings_no_further_candidates_once_there_are_enough() -> None:
    texts, whole = corpus(*["sea fog"] * (lexical.COMMON + 1), "whale sea", "whale")
    matches = Matches(whole, ["sea", "whale"], b=0.2, enough=2)
    assert set(matches.scores) == set(texts[-2:])
    assert matches.share(matches.terms_in(texts[-2])) == 1
    assert 0 < matches.share(matches.terms_in(texts[0])) < 0.5
    assert len(Matches(whole, ["sea", "whale"], b=0.2).scores) == len(texts)


def test_an_index_finds_the_same_with_postings_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "INDEXED", 3)
    index: TermIndex[Text] = TermIndex()
    texts = [Text(content) for content in ("sea", "sky", "sea fog", "sea sky", "fog")]
    for text in texts:
        index.add([text])
        assert index.with_term("sea") == [one for one in index.texts if "sea" in one.counts]
    assert index.length == 7
    assert list(index.with_term("unheard")) == []
