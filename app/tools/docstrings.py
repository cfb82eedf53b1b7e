"""What a function's docstring says: its first paragraph, and a line for each parameter (Google, NumPy and Sphinx)."""

from __future__ import annotations

import inspect
import re

_SPHINX = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?\*{0,2}(?P<name>\w+)\s*:\s*(?P<text>.*)")
_FIELD = re.compile(r":\w+[^:]*:")
_HEADING = re.compile(
    r"(?:args|arguments|parameters|params|keyword args|keyword arguments|other parameters)\s*(:?)\s*", re.I
)
_GOOGLE = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?\s*:\s*(?P<text>.*)")
_NUMPY = re.compile(r"(?P<names>\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")


def summary(docstring: str | None) -> str:
    """The first paragraph, on one line; empty without a docstring."""
    paragraph: list[str] = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        if not line.strip() or _FIELD.match(line):
            break
        paragraph.append(line.strip())
    return " ".join(paragraph)


def parameters(docstring: str | None) -> dict[str, str]:
    """What is said of each parameter, on one line."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        heading = _HEADING.fullmatch(line)
        if heading and heading[1]:
            found |= _google(lines[number + 1 :])
        elif heading and number + 1 < len(lines) and re.fullmatch("-{3,}", lines[number + 1].strip()):
            found |= _numpy(lines[number + 2 :])
    found |= _sphinx(lines)
    return {name: text for name, parts in found.items() if (text := " ".join(filter(None, parts)))}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _google(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    first = next((_indent(line) for line in lines if line.strip()), 0)
    current: list[str] = []
    for line in lines:
        if line.strip() and (_indent(line) < first or first == 0):
            break
        match = _GOOGLE.fullmatch(line.strip()) if _indent(line) == first else None
        if match:
            current = found[match["name"]] = [match["text"]]
        else:
            current.append(line.strip())
    return found


def _numpy(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch("-{3,}", following.strip()):
            break
        match = _NUMPY.fullmatch(line) if line and _indent(line) == 0 else None
        if match:
            current = []
            found |= {name.strip(" *"): current for name in match["names"].split(",")}
        else:
            current.append(line.strip())
    return found


def _sphinx(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        match = _SPHINX.fullmatch(line.strip())
        if match:
            current = found[match["name"]] = [match["text"]]
        elif not line.strip() or _FIELD.match(line.strip()):
            current = []
        else:
            current.append(line.strip())
    return found
