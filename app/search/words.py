"""Words: what a text is indexed and searched by. Pure functions, no model; every database gets the same terms."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from app.domain.marks import shorten_marks
from app.search.lemmas import base_of
from app.search.stems import stem

_STOP_WORDS = """
a about after all also am an and any anyone are aren as at be because been before being but by can could couldn did
didn do does doesn doing don down during each for from further get gets getting got had hadn has hasn have haven
having he her here hers herself him himself his how i if in into is isn it its itself just ll m me more most my myself
no nor not of off on once only or other our ours out over own re s same shall she should shouldn so some such t than
that the their theirs them themselves then there these they this those through to too under until up ve very was wasn
we were weren what when where which while who whom whose why will with would wouldn you your yours yourself
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[^\W_]+")
# Scripts written without spaces between words: pairs of adjacent characters serve as words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")


def fold(text: str) -> str:
    """Lower-case a text and strip its accents, so that `Ångström` is found as `angstrom`."""
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", shorten_marks(text.lower()))
    return unicodedata.normalize("NFC", "".join([c for c in parts if not unicodedata.combining(c)]))


def words(text: str) -> list[str]:
    """Folded words in text order, stop words included."""
    folded = fold(text)
    found = _WORD.findall(folded)
    if folded.isascii():
        return found
    return [piece for word in found for piece in _pieces(word)]


def _pieces(word: str) -> Iterable[str]:
    if not _UNSPACED.search(word):
        return (word,)
    return _cut(word)


def _cut(word: str) -> list[str]:
    pieces: list[str] = []
    at = 0
    for run in _UNSPACED.finditer(word):
        if run.start() > at:
            pieces.append(word[at : run.start()])
        chars = run.group()
        pieces += [chars[i : i + 2] for i in range(len(chars) - 1)] or [chars]
        at = run.end()
    if at < len(word):
        pieces.append(word[at:])
    return pieces


def split_text(text: str, *, most_words: int) -> list[str]:
    """Split a text into pieces of at most `most_words` words: whole sentences (or lines), longer ones are cut."""
    found: list[list[str]] = []
    for sentence in _SENTENCE.split(text.strip()):
        said = sentence.split()
        if found and len(found[-1]) + len(said) <= most_words:
            found[-1] += said
        else:
            found += [said[start : start + most_words] for start in range(0, len(said), most_words)]
    return [" ".join(said) for said in found]


def terms(text: str) -> list[str]:
    """What is indexed and searched for: stems in text order, without stop words."""
    found = words(text)
    if "won" in found:  # "won't" is tokenized as "won" and "t" and is not a form of "win"
        found = [word for word, after in zip(found, [*found[1:], ""], strict=True) if (word, after) != ("won", "t")]
    return [stem(base_of(word)) for word in found if word not in STOP_WORDS]
