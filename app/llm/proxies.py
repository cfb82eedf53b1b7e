"""Which proxy leads to an address: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and the exceptions in `NO_PROXY`."""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from collections.abc import Mapping

import httpx2

_ENTRY = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d+))?")
_PORTS = {"http": 80, "https": 443}


class Proxies:
    """The settings of the environment, read once."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """`settings` as `urllib.request.getproxies` gives them: `http`, `https`, `all`, `no`."""
        self._settings = settings
        self.are_set = any(name in settings for name in ("http", "https", "all"))
        self._exceptions = re.split(r"[\s,]+", settings.get("no", "").strip().lower())

    @classmethod
    def of_environment(cls) -> Proxies:
        return cls(urllib.request.getproxies())

    def proxy_for(self, url: httpx2.URL) -> str | None:
        """The address of the proxy, with its password if it has one; `None` where the way is direct.

        Raises:
            httpx2.UnsupportedProtocol: the proxy speaks SOCKS, or something else we do not.
        """
        proxy = self._settings.get(url.scheme) or self._settings.get("all")
        if not proxy or self.is_exception(url) or urllib.request.proxy_bypass(url.host):
            return None
        scheme, has_scheme, _ = proxy.partition("://")
        if not has_scheme:
            return f"http://{proxy}"
        if scheme.lower() in _PORTS:
            return proxy
        kind = "SOCKS proxies are" if scheme.lower().startswith("socks") else f"proxies of kind {scheme!r} are"
        raise httpx2.UnsupportedProtocol(
            f"{kind} not supported ({place_of(proxy)}): name an HTTP proxy in HTTPS_PROXY and HTTP_PROXY, "
            "or this host in NO_PROXY"
        )

    def is_exception(self, url: httpx2.URL) -> bool:
        """Whether `NO_PROXY` names the host: by name (with its subdomains), address or network, perhaps with a port."""
        host = url.host.lower().strip("[]").rstrip(".")
        port = url.port or _PORTS.get(url.scheme)
        return any(_covers(entry, host, port) for entry in self._exceptions if entry)


def place_of(proxy: str) -> str:
    """The address of a proxy without its password."""
    scheme, found, rest = proxy.rpartition("://")
    return f"{scheme}{found}{rest.rpartition('@')[2].partition('/')[0]}"


def _covers(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)  # an address is the smallest network
    except ValueError:
        pass
    else:
        return _is_in(host, network)
    parts = _ENTRY.fullmatch(entry)
    if parts is None or (parts["port"] and int(parts["port"]) != port):
        return False
    if parts["port"]:
        return _covers(parts["six"] or parts["name"], host, port)
    name = (parts["name"] or "").removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _is_in(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name is not looked up for this
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address) in network
