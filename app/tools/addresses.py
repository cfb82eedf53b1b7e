"""Where a tool may connect: an allow-list of hosts, and which IP addresses are nobody's own network."""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.tools.base import ToolFailed
from app.tools.mistakes import cut
from app.tools.threads import Threads

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The IP addresses of a host; raises OSError."""

_PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(r"(?P<host>\*|(?:\*\.)?[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}|\*))?")
_HAS_PORT = re.compile(r":(?:\d+|\*)$")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|[0-9A-Fa-f:.]{2,45}")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_ALSO_PRIVATE = [
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "100.64.0.0/10",
        "64:ff9b:1::/48",
        "fec0::/10",
    )
]
"""Networks that Python counts as global, or counted so in some version: cloud hosts, relays, carriers."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """An address to connect to, read once: `url` is put together from the parts, so that all readers agree."""

    scheme: str
    host: str
    port: int
    url: str

    @property
    def place(self) -> str:
        """Host and port, as a person writes them."""
        return self.url.split("/", 3)[2]

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def read_url(url: str) -> Target:
    """Read an http or https URL.

    Raises:
        ToolFailed: it is none, or one that programs may read differently, or it has a password in it.
    """
    if _UNSAFE.search(url):
        raise ToolFailed("The URL has a blank, a control character or a backslash in it; write these percent-encoded.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ToolFailed(f"{cut(url, 200)} is no URL ({exc}).") from exc
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ToolFailed(f"{cut(url, 200)} is no URL that can be requested; it must begin with https:// or http://.")
    if "@" in parts.netloc:
        raise ToolFailed("The URL has a user or a password in it; send credentials as headers, if at all.")
    host = parts.hostname.rstrip(".").lower()
    if not _HOST.fullmatch(host):
        raise ToolFailed(f"{cut(host, 100)} is no host name; write letters beyond ASCII as punycode (xn--…).")
    port = _PORTS[parts.scheme] if port is None else port
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
    whole = f"{parts.scheme}://{authority}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, whole)


class AllowedHosts:
    """Entries `api.example.org`, `*.example.org` (below it), `*` (any), each with `:port` or `:*`, else the usual port.

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries = tuple(entries)
        self._parsed = [self._parse(entry) for entry in self.entries]

    @property
    def takes_any(self) -> bool:
        return any(host == "*" for host, _ in self._parsed)

    def has(self, target: Target) -> bool:
        return any(
            self._fits(host, target.host) and port in ("*", str(target.port), "" if self._is_usual(target) else "-")
            for host, port in self._parsed
        )

    def _parse(self, entry: str) -> tuple[str, str]:
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            raise ValueError(f"{entry!r} is no host; write `api.example.org`, `*.example.org` or `example.org:8080`")
        return match["host"].strip("[]").rstrip(".").lower(), match["port"] or ""

    def _fits(self, pattern: str, host: str) -> bool:
        return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))

    def _is_usual(self, target: Target) -> bool:
        return target.port == _PORTS[target.scheme]


def is_public(address: Address) -> bool:
    """Whether an address is on the Internet: not private, loopback, link-local, multicast or a cloud's metadata."""
    inner = _inner(address)
    if inner is not None and not is_public(inner):
        return False
    if any(address in network for network in _ALSO_PRIVATE if network.version == address.version):
        return False
    return inner is not None or (address.is_global and not address.is_multicast and not address.is_reserved)


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


class PrivatePlaces:
    """What may be connected to although it is not public: networks (`10.1.0.0/16`) and hosts (`localhost`).

    Raises:
        ValueError: an entry is neither.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._networks: list[Network] = []
        hosts = []
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                hosts.append(entry if _HAS_PORT.search(entry) else f"{entry}:*")
        self._hosts = AllowedHosts(hosts)

    def has(self, target: Target, address: Address) -> bool:
        if self._hosts.has(target):
            return True
        return any(address in network for network in self._networks if network.version == address.version)


async def checked_addresses(target: Target, *, resolve: Resolve, private: PrivatePlaces) -> list[Address]:
    """The addresses of a host that may be connected to.

    Raises:
        ToolFailed: it has none, or none that may be.
    """
    host = target.host
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            found = [ipaddress.ip_address(text) for text in await resolve(host, target.port)]
        except (OSError, ValueError) as exc:
            raise ToolFailed(f"The host {host} is not known ({exc}).") from exc
    allowed = [address for address in found if is_public(address) or private.has(target, address)]
    if not allowed:
        raise ToolFailed(f"The host {host} is in a private network ({found[0] if found else 'no address'}): refused.")
    return allowed


def system_resolver(threads: Threads) -> Resolve:
    """Names as the system resolves them, in a thread: a resolver that hangs holds up no shutdown."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await threads.run(look_up, name="name of a host")
        return list(dict.fromkeys(str(address[4][0]).partition("%")[0] for address in found))

    return resolve
