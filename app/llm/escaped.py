"""The inside of JSON strings: what of a provider's may be passed on as it is."""

from __future__ import annotations

import re

# No control character, no U+0000, no unknown escape and no half of a surrogate pair. Possessive, so that a mismatch
# costs one pass.
INNER = (
    rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u(?:(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))" + rb'[^"\\\x00-\x1f]*+)*+'
)
_is_inner = re.compile(INNER).fullmatch
_HARMLESS = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))


def is_passable(found: list[bytes]) -> bool:
    """Whether all are such texts, in UTF-8, and none is empty."""
    # A space between the texts keeps half an escape from being completed by its neighbour.
    text = b" ".join(found) if len(found) > 1 else found[0]
    if b"" in found:
        return False
    if not text.translate(None, _HARMLESS):
        return True
    if _is_inner(text) is None:
        return False
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
