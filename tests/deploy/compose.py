"""Reads compose files as `docker compose` does, without it."""

from __future__ import annotations

import re


def filled(text: str, **environ: str) -> str:
    """A value of a compose file as `docker compose` fills it in. Raises KeyError for what is required."""

    def value(match: re.Match[str]) -> str:
        name, rule, rest = match.groups()
        if environ.get(name):
            return environ[name]
        if rule == ":?":
            raise KeyError(name)
        return str(rest)

    while (inner := re.sub(r"\$\{(\w+)(:[-?])([^${}]*)\}", value, text)) != text:
        text = inner
    return text
