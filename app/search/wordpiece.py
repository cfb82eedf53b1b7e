"""WordPiece: the tokenizer of BERT's uncased models.

The vocabulary of BERT base uncased (Google, Apache-2.0) is in the file beside this one; its hash is checked on reading.
"""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

from app.domain.marks import shorten_marks
from app.domain.word_cache import cached_by_word

VOCABULARY = Path(__file__).with_name("wordpiece.txt")
SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"

UNKNOWN, START, END = 100, 101, 102
_MAX_WORD = 100


class WordPiece:
    """Encodes texts as token numbers."""

    def __init__(self, path: Path = VOCABULARY) -> None:
        """Raises ValueError if the file is not the expected vocabulary."""
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise ValueError(f"{path.name} is damaged")
        self._numbers = {piece: number for number, piece in enumerate(content.decode().splitlines())}
        self._encode_short_word = cached_by_word(16384)(self._pieces)

    def encode(self, text: str, *, limit: int) -> list[int]:
        """The token numbers of a text, at most `limit` including start and end."""
        numbers = [START]
        for word in split(text):
            numbers += self._encode_word(word)
            if len(numbers) >= limit - 1:
                break
        return [*numbers[: limit - 1], END]

    def places_that_say(self, text: str, silent: frozenset[str], *, limit: int) -> list[int]:
        """Where in `encode`'s result tokens are neither punctuation nor of `silent` words; all places if nowhere."""
        places: list[int] = []
        last = 1
        for word in split(text):
            first, last = last, last + len(self._encode_word(word))
            if word not in silent and word.isalnum():
                places += range(first, last)
        inner = range(1, min(last, limit - 1))
        return [place for place in places if place in inner] or list(inner)

    def _encode_word(self, word: str) -> tuple[int, ...]:
        return self._encode_short_word(word) if len(word) <= _MAX_WORD else (UNKNOWN,)

    def _pieces(self, word: str) -> tuple[int, ...]:
        pieces: list[int] = []
        start = 0
        while start < len(word):
            end = len(word)
            while end > start:
                number = self._numbers.get(("##" if start else "") + word[start:end])
                if number is not None:
                    break
                end -= 1
            else:
                return (UNKNOWN,)
            pieces.append(number or 0)
            start = end
        return tuple(pieces)


def split(text: str) -> list[str]:
    """Split into lower-case words and single punctuation marks, as BERT's uncased models expect."""
    text = unicodedata.normalize("NFD", shorten_marks(text.lower()))
    spaced: list[str] = []
    for char in text:
        kind = unicodedata.category(char)
        if kind == "Mn" or char in "\x00\ufffd" or (kind[0] == "C" and char not in "\t\n\r"):
            continue
        spaced.append(f" {char} " if _stands_alone(char, kind) else char)
    return "".join(spaced).split()


def _stands_alone(char: str, kind: str) -> bool:
    code = ord(char)
    if code < 128:
        return not char.isalnum() and not char.isspace()
    return kind[0] == "P" or 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x2FA1F
