"""A request as a model wants it: its headers and body checked, and where a redirect leads to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from app.tools.addresses import Target, read_url
from app.tools.base import ToolFailed
from app.tools.mistakes import cut

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
READING = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[\t\x20-\x7e]{0,8000}")
_REFUSED = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect"}
    | {"cookie", "cookie2", "set-cookie", "idempotency-key", "accept-encoding", "content-encoding", "range"}
    | {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-real-ip", "via"}
    | {"metadata", "metadata-flavor", "x-metadata-token", "x-aws-ec2-metadata-token"}
)
"""Headers that belong to the connection, to a browser or a proxy, or open the metadata of clouds."""
_KEPT_ABROAD = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-type", "user-agent", "idempotency-key"}
)
"""Headers that go along when a redirect leads to another host; others may be credentials."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None = None


def read_headers(wanted: Mapping[str, str], *, fixed: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request, names in lower case: those a model wants, and the fixed ones.

    Raises:
        ToolFailed: a model may not set one of them.
    """
    headers = {"accept-encoding": "identity", "accept": "*/*", "user-agent": "hector"}
    for name, value in wanted.items():
        lower = name.lower()
        if lower in _REFUSED or lower in fixed or lower.startswith(("proxy-", "sec-", ":")):
            raise ToolFailed(f"The header {cut(name, 100)} is set by the server; leave it out.")
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ToolFailed(f"The header {cut(name, 100)} has characters that no header may have.")
        headers[lower] = value
    return {**headers, **fixed}


def read_body(body: Any) -> tuple[bytes | None, str]:
    """The bytes of a body and its media type, if the model names none."""
    if body is None:
        return None, ""
    if not isinstance(body, str):
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), "application/json"
    is_json = body.lstrip()[:1] in ("{", "[")
    return body.encode("utf-8", "replace"), "application/json" if is_json else "text/plain; charset=utf-8"


def redirected(request: Request, status: int, location: str) -> Request:
    """The request that follows an answer with one of `REDIRECTS`.

    Raises:
        ToolFailed: the answer leads to what is no URL, or from https to http.
    """
    target = read_url(urljoin(request.target.url, location))
    if request.target.scheme == "https" and target.scheme == "http":
        raise ToolFailed(f"The answer leads from https to {cut(target.url, 200)}, which is not encrypted: refused.")
    is_same = target.origin == request.target.origin
    headers = {name: value for name, value in request.headers.items() if is_same or name in _KEPT_ABROAD}
    if (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST"):
        gone = {"content-type", "idempotency-key"}
        return Request("GET", target, {name: value for name, value in headers.items() if name not in gone})
    return Request(request.method, target, headers, request.body)
