"""Patterns of paths, part by part. Written by models, too: no pattern makes matching slow."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path is as the pattern: `**` stands for any number of parts, `*`, `?` and `[…]` for characters of one.

    Takes time in proportion to the lengths of both multiplied, whatever they contain: a regular expression made of
    many `**` would not.
    """
    reached = {0}
    for wanted in pattern:
        if wanted == "**":
            reached = set(range(min(reached), len(parts) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], wanted)}
    return len(parts) in reached


def fits_beginning(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path, or a folder above it, is as the pattern."""
    return len(parts) >= len(pattern) and fits(parts[: len(pattern)], pattern)
