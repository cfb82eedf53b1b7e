"""The body of an HTTP answer: whether it is text, without its compression, decoded. Linear in its length."""

from __future__ import annotations

import codecs
import re
import zlib

_TEXT = re.compile(
    r"text/|application/(?:[\w.-]{1,80}\+)?(?:x-)?(?:json|ndjson|xml|javascript|yaml|www-form-urlencoded|graphql|csv|sql|toml)\b"
)
_CHARSETS = frozenset(
    {"utf-8", "ascii", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "iso8859-1", "gb18030", "gbk", "gb2312"}
    | {"big5", "shift_jis", "euc_jp", "euc_kr", "koi8-r", "koi8-u", "mac-roman", "iso2022_jp"}
    | {f"cp{number}" for number in (437, 850, 866, 874, 932, 949, 950, *range(1250, 1259))}
    | {f"iso8859-{number}" for number in range(2, 17)}
)
"""Encodings of texts. Others that Python knows are none (`zip`), or slow (`punycode`)."""
_META = re.compile(rb"<meta[^>]{0,200}?charset\s{0,9}=\s{0,9}[\"']?([\w-]{1,40})", re.I)


def is_text(content_type: str) -> bool:
    """Whether a body of this media type can be shown; of none at all: yes."""
    return not content_type or _TEXT.match(content_type.lower()) is not None


def decode(body: bytes, content_type: str) -> str:
    """The body as text; what its encoding does not have becomes U+FFFD."""
    named = re.search(r"charset\s{0,9}=\s{0,9}[\"']?([\w.:-]{1,40})", content_type, re.I)
    if named is None and "html" in content_type.lower():
        meta = _META.search(body[:2_048])
        charset = meta[1].decode("ascii", "replace") if meta else "utf-8"
    else:
        charset = named[1] if named else "utf-8"
    return body.decode(_known(charset), "replace").removeprefix("\ufeff")


def _known(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return "utf-8"
    return name if name in _CHARSETS else "utf-8"


def decompress(body: bytes, encoding: str, limit: int) -> bytes | None:
    """The body without its compression, at most `limit` bytes and one; `None`: the encoding is none of ours."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return None
    for window in (47, -15):  # gzip or zlib by its header; then deflate without one, which some send
        try:
            return zlib.decompressobj(window).decompress(body, limit + 1)
        except zlib.error:
            continue
    return None
