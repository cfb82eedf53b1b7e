"""The name a model calls a tool of an MCP server by."""

from __future__ import annotations

import hashlib
import re

MAX_LENGTH = 64
_REFUSED = re.compile(r"[^A-Za-z0-9_-]+")


def tool_name(server: str, tool: str) -> str:
    """`mcp__SERVER__TOOL` in the characters and the length that providers accept (`[A-Za-z0-9_-]{1,64}`).

    It depends on the two names and nothing else, so that a rule about one tool never comes to mean another one. A name
    that had to be changed ends with a hash of the original: two tools whose names look alike keep two names.
    """
    wanted = f"mcp__{server}__{tool}"
    clean = _REFUSED.sub("_", wanted)
    if clean == wanted and len(clean) <= MAX_LENGTH:
        return clean
    mark = "_" + hashlib.sha256(f"{server}\0{tool}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return clean[: MAX_LENGTH - len(mark)] + mark
