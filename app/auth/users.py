"""User names: how a request names its end user, and the one form in which a name is compared and stored.

A name may stand in the header, in the address and in the body of a request. All of them are read here into Unicode
normal form C, and they have to agree: none beats another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote_to_bytes

from app.domain.errors import Forbidden, InvalidRequest
from app.domain.principal import Principal

MAX_USER_ID = 256
"""Characters of a name in normal form C, inclusive."""
_MAX_WRITTEN = 4 * MAX_USER_ID
"""Normalising takes quadratic time on runs of combining marks; no name that long becomes one of MAX_USER_ID."""
_ESCAPED = re.compile(rb"utf-8'[a-z0-9-]*'(.*)", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def normalize(name: str) -> str:
    """The name in normal form C. Raises InvalidRequest unless it has 1 to 256 characters, none of them U+0000."""
    if name.isascii():
        normal = name
    else:
        normal = unicodedata.normalize("NFC", name) if len(name) <= _MAX_WRITTEN else name
    if not 0 < len(normal) <= MAX_USER_ID:
        raise InvalidRequest(f"user_id must have 1 to {MAX_USER_ID} characters.")
    if "\0" in normal:
        raise InvalidRequest("user_id cannot contain the character U+0000.")
    return normal


def with_user(principal: Principal, user_id: str) -> Principal:
    """The same caller, on behalf of an end user.

    Raises:
        InvalidRequest: no name, a name that is too long, or the request has named another user already.
        Forbidden (`forbidden_user`): the token of the request is another user's.
    """
    user_id = normalize(user_id)
    if principal.own_user is not None and user_id != principal.own_user:
        raise Forbidden("This token speaks for its own user and for no other.", reason="forbidden_user")
    if principal.user_id is None:
        return principal.for_user(user_id)
    if principal.user_id != user_id:
        raise InvalidRequest(
            f"The request names two users, {principal.user_id!r} and {user_id!r}: X-User-Id, user_id in the address and"
            " user_id in the body must agree."
        )
    return principal


def with_named_user(principal: Principal, headers: Sequence[bytes], query: bytes) -> Principal:
    """The caller on behalf of the user that the header and the address of a request name; unchanged if they name none.

    `headers` are the values of every X-User-Id and X-User-Id* of the request.
    """
    for written in headers:
        principal = with_user(principal, read_header(written))
    if b"user_id" in query or b"%" in query:  # the name of a parameter may be escaped, too
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1"):
            if name == "user_id":
                principal = with_user(principal, _decode(value.encode("latin-1"), "user_id"))
    return principal


def read_header(value: bytes) -> str:
    """The name in a header: as it is, or escaped as in RFC 8187 (`UTF-8''J%C3%BCrgen`)."""
    escaped = _ESCAPED.fullmatch(value)
    if escaped is None:
        return _decode(value, "X-User-Id")
    try:
        return unquote_to_bytes(escaped[1]).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("X-User-Id: what stands escaped behind UTF-8'' is not UTF-8.") from None


def _decode(written: bytes, place: str) -> str:
    """UTF-8, or else ISO 8859-1.

    Browsers and some libraries send the characters up to U+00FF as ISO 8859-1, and such a name is hardly ever UTF-8 by
    chance. What is neither, such as half a character, is refused.
    """
    try:
        return written.decode()
    except UnicodeDecodeError:
        name = written.decode("latin-1")
    if _CONTROL.search(name):
        raise InvalidRequest(f"{place} is not UTF-8. In a header the form UTF-8''J%C3%BCrgen always arrives.")
    return name
