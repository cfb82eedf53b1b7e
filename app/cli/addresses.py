"""Addresses of servers: as people write them, as servers listen on them, as one connects to them."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.cli.failures import CommandFailed, ExitCode

UNIX = "unix:"
"""Before the path of a socket."""


def normal_url(given: str) -> str:
    """With a scheme, without a slash at the end. Raises CommandFailed (2)."""
    url = (given if "://" in given else f"http://{given}").rstrip("/")
    parts = urlsplit(url)
    try:
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise CommandFailed(
            f"{given!r} is no address of a server; it looks like http://localhost:8080.",
            code=ExitCode.USAGE,
            reason="invalid_request",
        )
    return url


def is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def reachable(url: str) -> str | None:
    """The address to connect to for the one that a server listens on; `None` while it has none yet."""
    if url.startswith(UNIX):
        return url
    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or port == "0":
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
