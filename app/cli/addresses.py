"""Server addresses: as users write them, as servers listen on them, and as clients connect to them."""

from __future__ import annotations

from app.cli.failures import CommandFailed, ExitCode
from hector_client import normalize_url

UNIX = "unix:"
"""Prefix of the path of a UNIX socket."""


def normal_url(given: str) -> str:
    """With a scheme, without a slash at the end. Raises CommandFailed (2)."""
    try:
        return normalize_url(given)
    except ValueError as error:
        raise CommandFailed(str(error), code=ExitCode.USAGE, reason="invalid_request") from None


def reachable(url: str) -> str | None:
    """The address to connect to, for the one that a server listens on; `None` while the server has no port yet."""
    if url.startswith(UNIX):
        return url
    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or port == "0":
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
