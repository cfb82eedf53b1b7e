"""What to write into the configuration of a proxy that harms streams. Tests hold nginx's lines against nginx."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

SHORTEST_SECONDS = 1


class Harm(Enum):
    BUFFERS = "buffers"
    CUTS = "cuts"
    COMPRESSES = "compresses"


_NGINX = {
    Harm.BUFFERS: ("proxy_buffering off;", "proxy_cache off;"),
    Harm.CUTS: ("proxy_read_timeout 2m;", "proxy_send_timeout 2m;"),
    Harm.COMPRESSES: ("gzip off;",),
}
"""For the location that leads to Hector."""
_CADDY = {
    Harm.BUFFERS: ("reverse_proxy 127.0.0.1:8080 {", "\tflush_interval -1", "}"),
    Harm.CUTS: (
        "reverse_proxy 127.0.0.1:8080 {",
        "\tflush_interval -1",
        "\ttransport http {",
        "\t\tread_timeout 2m",
        "\t}",
        "}",
    ),
    Harm.COMPRESSES: (
        "encode {",
        "\tgzip",
        "\tmatch {",
        "\t\theader Content-Type text/html*",
        "\t\theader Content-Type text/css*",
        "\t\theader Content-Type text/javascript*",
        "\t\theader Content-Type application/json*",
        "\t}",
        "}",
    ),
}
"""For the site; in place of the directive of the same name that is there."""


def remedy(harm: Harm, server: str, *, silence_seconds: float | None = None) -> Sequence[str]:
    """Lines to copy. `server`: what the proxy calls itself in its answers; both kinds are shown if it does not say.

    `silence_seconds`: after how much of it the proxy cut the stream.
    """
    name = server.lower()
    lines: list[str] = []
    if "caddy" not in name:
        lines += ["nginx, in the location that leads to Hector:", *_indented(_NGINX[harm])]
    if "nginx" not in name:
        lines += ["Caddy, in the site:", *_indented(_CADDY[harm])]
    if silence_seconds is not None:
        heartbeat = max(int(silence_seconds / 2), SHORTEST_SECONDS)
        lines += ["or, where the proxy is not yours, in Hector's configuration:"]
        lines += _indented((f"server: {{heartbeat: {heartbeat}s}}",))
    return lines


def _indented(lines: Sequence[str]) -> list[str]:
    return ["    " + line.replace("\t", "    ") for line in lines]
