"""What words a text is made of: tokens, stems, names, dates. Pure functions, no model, the same on every store."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from app.memory.lemmas import base_of

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
# Scripts that are written without spaces between words: pairs of characters stand for words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")


def fold(text: str) -> str:
    """Lower case without accents, so that `Ångström` is found as `angstrom`."""
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text.lower())
    return unicodedata.normalize("NFC", "".join([c for c in parts if not unicodedata.combining(c)]))


LONGEST = 60
"""Characters of a term: a line of base64 is one word, and Postgres refuses one of 2 KB."""


def words(text: str) -> list[str]:
    """Folded words in their order, with stop words."""
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


def pieces(text: str, *, most_words: int) -> list[str]:
    """The text in whole sentences (or lines), as many together as have at most so many words; longer ones are cut."""
    found: list[list[str]] = []
    for sentence in _SENTENCE.split(text.strip()):
        said = sentence.split()
        if found and len(found[-1]) + len(said) <= most_words:
            found[-1] += said
        else:
            found += [said[start : start + most_words] for start in range(0, len(said), most_words)]
    return [" ".join(said) for said in found]


def terms(text: str) -> list[str]:
    """What is indexed and searched for: stems of the words that say something, in their order, the longest cut."""
    found = words(text)
    if "won" in found:  # of "won't" it says nothing
        found = [word for word, after in zip(found, [*found[1:], ""], strict=True) if (word, after) != ("won", "t")]
    return [stem(base_of(word))[:LONGEST] for word in found if word not in STOP_WORDS]


# -- Porter's stemmer (M. F. Porter, "An algorithm for suffix stripping", 1980), English only ----------------------

_STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("abli", "able"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"),
)  # fmt: skip
_STEP_3 = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
)  # fmt: skip
_STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip
_MEASURE = re.compile(r"[aeiouy]+[^aeiouy]+")
_VOWEL = re.compile(r"[aeiou]|(?<=[^aeiou])y")


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of an English word; other words, short ones and numbers stay as they are."""
    if len(word) < 3 or not word.isascii() or not word.isalpha():
        return word
    word = _step_1(word)
    word = _replace(word, _STEP_2)
    word = _replace(word, _STEP_3)
    word = _step_4(word)
    return _step_5(word)


def _measure(part: str) -> int:
    """Porter's m: how many times a vowel run is followed by a consonant run."""
    marked = part[:1].replace("y", "j") + "".join(
        ["j" if c == "y" and part[i] in "aeiou" else c for i, c in enumerate(part[1:])]
    )
    return len(_MEASURE.findall(marked))


def _step_1(word: str) -> str:
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        if _measure(word[:-3]):
            word = word[:-1]
    else:
        for suffix in ("ed", "ing"):
            if word.endswith(suffix) and _VOWEL.search(word[: -len(suffix)]):
                word = _mend(word[: -len(suffix)])
                break
    if word.endswith("y") and _VOWEL.search(word[:-1]):
        word = word[:-1] + "i"
    return word


def _mend(word: str) -> str:
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if len(word) > 1 and word[-1] == word[-2] and word[-1] not in "aeioulsz":
        return word[:-1]
    return word + "e" if _measure(word) == 1 and _ends_short(word) else word


def _ends_short(word: str) -> bool:
    """Consonant, vowel, consonant at the end, the last not w, x or y."""
    return len(word) > 2 and word[-1] not in "aeiouwxy" and word[-2] in "aeiouy" and word[-3] not in "aeiou"


def _replace(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    for suffix, other in rules:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest + other if _measure(rest) else word
    return word


def _step_4(word: str) -> str:
    for suffix in sorted(_STEP_4, key=len, reverse=True):
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            if _measure(rest) > 1 and (suffix != "ion" or rest.endswith(("s", "t"))):
                return rest
            return word
    return word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        measure = _measure(rest)
        if measure > 1 or (measure == 1 and not _ends_short(rest)):
            word = rest
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word


# -- names -----------------------------------------------------------------------------------------------------

ROLE_NAMES = frozenset(("user", "assistant", "human", "ai", "bot", "agent", "system", "tool", "you", "me", "anonymous"))
"""Speakers that are a part in the conversation, not a name."""

_NAMED = re.compile(r"([^\W\d_][\w\-]*)((?:['’`]s?)?)")


def name_parts(speakers: Iterable[str]) -> frozenset[str]:
    """The folded words of the participants' names."""
    parts: set[str] = set()
    for speaker in speakers:
        said = [word for word in words(speaker) if len(word) > 1]
        parts.update(said if len(said) == 1 else [word for word in said if word not in STOP_WORDS])
    return frozenset(parts - ROLE_NAMES)


def find_names(text: str, names: frozenset[str]) -> set[str]:
    """Which of the participants' names the text says, also shortened (`Deb` for Deborah)."""
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
    if len(folded) > 2 and word[0].isupper() and folded not in STOP_WORDS:
        return _longer(folded, names)
    return None


@lru_cache(maxsize=4096)
def _longer(folded: str, names: frozenset[str]) -> str | None:
    fitting = [name for name in names if name.startswith(folded)]
    return fitting[0] if len(fitting) == 1 and len(fitting[0]) - len(folded) <= 5 else None
