"""What both clients know of HTTP: where the server is, what goes with every request, what a failure means."""

from __future__ import annotations

import os
import socket
import ssl
import unicodedata
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx2

from hector_client._steps import Reply, Request
from hector_client.errors import Unreachable, refusal

DEFAULT_SERVER = "http://localhost:8080"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """In seconds. `connect`: until a connection stands. `silence`: without a byte while an answer is due; a stream says
    something every 15 s, so the default is three heartbeats. `patience`: how long a broken answer is tried again.
    """

    connect: float = 10.0
    silence: float = 45.0
    patience: float = 60.0


def normalize_url(given: str) -> str:
    """With a scheme, without a slash at the end. Raises ValueError."""
    url = (given if "://" in given else f"http://{given}").rstrip("/")
    parts = urlsplit(url)
    try:
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(f"{given!r} is no address of a server; it looks like {DEFAULT_SERVER}.")
    return url


def is_local(url: str) -> bool:
    """Whether the server runs on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def escape_user(user: str) -> str:
    """The name as a header carries it through every proxy: beyond plain ASCII escaped as in RFC 8187."""
    is_plain = user.isascii() and user.isprintable() and user == user.strip()
    if is_plain and not user.lower().startswith("utf-8'"):
        return user
    return "UTF-8''" + quote(unicodedata.normalize("NFC", user), safe="")


def settings(
    base_url: str | None, *, token: str | None, user: str | None, limits: TimeLimits
) -> tuple[str, dict[str, Any]]:
    """The address, and the arguments that the synchronous and the asynchronous client of httpx2 share."""
    url = normalize_url(base_url or os.environ.get("HECTOR_SERVER") or DEFAULT_SERVER)
    token = os.environ.get("HECTOR_TOKEN") if token is None else token
    headers = {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if user is not None:
        headers["X-User-Id"] = escape_user(user)
    return url, {
        "base_url": url,
        "headers": headers,
        "timeout": httpx2.Timeout(limits.connect, read=limits.silence),
        "follow_redirects": False,
        # A proxy of the environment is for other machines; it could not reach this one.
        "trust_env": not is_local(url),
    }


class Arguments(NamedTuple):
    """Of httpx2's `build_request`."""

    method: str
    path: str
    options: dict[str, Any]


def arguments(request: Request, limits: TimeLimits) -> Arguments:
    options: dict[str, Any] = {"params": dict(request.query), "headers": dict(request.headers)}
    if request.content is not None:
        options["content"] = request.content
    elif request.body is not None:
        options["json"] = dict(request.body)
    if request.is_patient:
        options["timeout"] = httpx2.Timeout(limits.connect, read=None)
    return Arguments(request.method, request.path, options)


_NOT_JSON = object()


def reply_of(response: httpx2.Response) -> Reply:
    """Of a response that was read to its end. Raises Refused."""
    found = _json(response)
    if not response.is_success or found is _NOT_JSON:
        raise refusal(response.status_code, found, retry_after=response.headers.get("Retry-After"))
    return Reply(response.status_code, found)


def unreachable(place: str, error: Exception) -> Unreachable:
    problem = problem_of(error)
    return Unreachable(f"No answer from {place}: {problem}.", problem=problem)


def problem_of(error: Exception) -> str:
    """The failure in a few words, without addresses of objects; never an empty string."""
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, socket.gaierror):
                return "there is no host of that name"
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"its certificate is not accepted ({cause.verify_message.lower()})"
            if isinstance(cause, ssl.SSLError):
                return "it does not speak TLS; is its address one of http:?"
            if isinstance(cause, OSError) and cause.errno:
                return os.strerror(cause.errno).lower()
            cause = cause.__cause__ or cause.__context__
        return str(error).lower() or "cannot connect"
    if isinstance(error, httpx2.ReadTimeout):
        return "timed out"
    return "the connection broke"


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return _NOT_JSON
