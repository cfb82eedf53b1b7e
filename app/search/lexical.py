"""Lexical search: an inverted index in memory, and BM25 over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

K1 = 1.2
"""Term saturation of BM25."""
INDEXED = 1_000
"""Texts from which on a `TermIndex` keeps postings. A smaller one is built faster without them, takes a third less
memory, and is searched as fast by looking at every text."""
COMMON = 150
"""Document frequency above which a term only re-scores candidates and adds no new ones."""


class Counted(Protocol):
    """A text whose terms are counted. `length`: how many terms it has. Hashed by identity."""

    @property
    def counts(self) -> Mapping[str, int]: ...

    @property
    def length(self) -> int: ...


T = TypeVar("T", bound=Counted)


class TermIndex(Generic[T]):
    """Texts, and which of them contain a term. Grows only."""

    def __init__(self, texts: Iterable[T] = ()) -> None:
        self.texts: list[T] = []
        self.length = 0
        """Terms of all texts."""
        self._postings: dict[str, list[T]] | None = None
        self.add(texts)

    def add(self, texts: Iterable[T]) -> None:
        for text in texts:
            self.texts.append(text)
            self.length += text.length
            if self._postings is not None:
                _post(self._postings, text)
        if self._postings is None and len(self.texts) >= INDEXED:
            self._postings = {}
            for text in self.texts:
                _post(self._postings, text)

    def with_term(self, term: str) -> Sequence[T]:
        if self._postings is not None:
            return self._postings.get(term, ())
        return [text for text in self.texts if term in text.counts]


def _post(postings: dict[str, list[T]], text: T) -> None:
    for term in text.counts:
        postings.setdefault(term, []).append(text)


@dataclass(frozen=True, slots=True)
class Corpus(Generic[T]):
    """What a question is scored against.

    `size` (texts), `average_length` (terms) and `frequency` (texts that contain a term) describe the whole corpus,
    even when `parts` hold only the candidates that a database nominated.
    """

    parts: Sequence[TermIndex[T]]
    size: int
    average_length: float
    frequency: Callable[[str], int]

    @classmethod
    def of(cls, parts: Sequence[TermIndex[T]]) -> Corpus[T]:
        """A corpus that is in memory as a whole."""
        size = sum([len(part.texts) for part in parts])
        length = sum([part.length for part in parts])

        def frequency(term: str) -> int:
            return sum([len(part.with_term(term)) for part in parts])

        return cls(parts, size, length / size if size else 1.0, frequency)

    @classmethod
    def of_candidates(cls, part: TermIndex[T], *, size: int, frequency: Callable[[str], int]) -> Corpus[T]:
        """Candidates out of a corpus of `size` texts; their average length stands for the corpus's."""
        return cls([part], size, part.length / max(1, len(part.texts)), frequency)


def idf(size: int, frequency: int) -> float:
    """Inverse document frequency of a term that `frequency` of `size` texts contain."""
    return math.log(1 + (size - frequency + 0.5) / (frequency + 0.5))


class Matches(Generic[T]):
    """The texts that contain terms of a question. `scores` is their Okapi BM25.

    Terms are looked up rarest first. Once there are `enough` candidates, a term that more than `COMMON` texts contain
    adds no new ones, because texts found only by it contain nothing rarer: it only adds to the scores of the
    candidates. So the cost of a question does not grow with a corpus in which all texts share the same words.
    """

    def __init__(self, corpus: Corpus[T], terms: Iterable[str], *, b: float, enough: float = math.inf) -> None:
        """`b`: BM25's length normalisation, 0 (none) to 1."""
        self.scores: dict[T, float] = {}
        self._found: dict[T, int] = {}
        self._bits: dict[str, int] = {}
        self._skipped: list[tuple[str, int]] = []
        """Terms that were looked up among the candidates only, with their bits."""
        self._weights: list[float] = []
        self._shares: dict[int, float] = {0: 0.0}
        self._b = b
        self._average = corpus.average_length or 1.0
        by_rarity = sorted([(corpus.frequency(term), term) for term in terms])
        for frequency, term in by_rarity:
            rarity = idf(corpus.size, frequency)
            bit = self._bits[term] = 1 << len(self._weights)
            self._weights.append(rarity)
            if frequency > COMMON and len(self.scores) >= enough:
                self._skipped.append((term, bit))
                found: list[Sequence[T]] = [[text for text in self.scores if term in text.counts]]
            else:
                found = [part.with_term(term) for part in corpus.parts] if frequency else []
            for texts in found:
                self._add(texts, term, bit, rarity * (K1 + 1))
        self._whole = sum(self._weights) or 1.0

    def _add(self, texts: Iterable[T], term: str, bit: int, weight: float) -> None:
        scores, bits = self.scores, self._found
        fixed, by_length = K1 * (1 - self._b), K1 * self._b / self._average
        for text in texts:
            count = text.counts[term]
            scores[text] = scores.get(text, 0.0) + weight * count / (count + fixed + by_length * text.length)
            bits[text] = bits.get(text, 0) | bit

    def terms_in(self, text: T) -> int:
        """Which of the question's terms a text contains, one bit each."""
        bits = self._found.get(text)
        if bits is None:  # the text contains none of the terms that were looked up in the whole corpus
            bits = 0
            for term, bit in self._skipped:
                if term in text.counts:
                    bits |= bit
            self._found[text] = bits
        return bits

    def terms_among(self, terms: Collection[str]) -> int:
        """Which of the question's terms are among some, one bit each."""
        return sum([bit for term, bit in self._bits.items() if term in terms])

    def share(self, bits: int) -> float:
        """The share of the question (0 to 1) that some of its terms make up, each weighted by its rarity."""
        found = self._shares.get(bits)
        if found is None:
            weights = [weight for place, weight in enumerate(self._weights) if bits >> place & 1]
            found = self._shares[bits] = sum(weights) / self._whole
        return found
