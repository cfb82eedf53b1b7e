"""Text of users, models and files made harmless: what it may not do to a terminal, or to the lines of a log."""

from __future__ import annotations

import re

# Controls move the cursor, change colours or the clipboard; the others change the order in which a line is read.
_UNSAFE = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_SEPARATORS = re.compile(r"\x85|\u2028|\u2029")
_REMOVED = re.compile(f"(?![\t\n])[{_UNSAFE}]")
_ESCAPED = re.compile(f"[{_UNSAFE}\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: str) -> str:
    """The text for a terminal: lines and tabs stay, other controls are removed."""
    return _REMOVED.sub("", _SEPARATORS.sub("\n", text))


def escape(text: str) -> str:
    r"""The text on one line, its controls written as `\n`, `\x1b`, `\u202e`."""
    return _ESCAPED.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    # Not by the codec `unicode_escape`, which is loaded on first use: there may be no file left for it.
    number = ord(match[0])
    return _NAMED.get(match[0]) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def escape_json(text: str) -> str:
    """A JSON text with the controls that JSON allows in strings written as escapes."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
