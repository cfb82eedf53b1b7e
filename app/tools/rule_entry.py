"""Entry: one line of the permissions, and whether it means a call."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.observability import neutral
from app.tools.argument_globs import Glob, Match, glob_for

_ENTRY = re.compile(r"(?P<tool>[\w.*?:/@-]+)\s*(?:\((?P<inside>.*)\)|(?P<exact>\{.*\}))?", re.DOTALL)
_FIELD = re.compile(r"\s*(?P<name>[A-Za-z_][\w.-]*)\s*=\s*")
_NEXT = re.compile(r"\s*,(?=\s*[A-Za-z_][\w.-]*\s*=)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"(?=\s*(?:,|$))', re.DOTALL)


class RuleError(ValueError):
    """An entry of the permissions cannot be read; the message quotes it and says how to write it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the permissions, parsed. `text` is the line as it was written."""

    text: str
    tool: re.Pattern[str]
    globs: tuple[tuple[str, Glob], ...] = ()
    exact: bytes | None = None
    """All arguments of the call, as JSON with sorted keys."""
    anywhere: tuple[str, str | None] | None = None
    """A glob for any argument, and the folder of paths."""

    def match(self, tool: str, arguments: Mapping[str, Any] | None, *, strictly: bool) -> Match:
        """Whether a call is meant. `arguments` are those the tool would get; `None`: they cannot be read."""
        if not self.tool.fullmatch(tool):
            return Match.NO
        if arguments is None:
            is_narrow = bool(self.globs) or self.exact is not None or self.anywhere is not None
            return Match.UNSURE if is_narrow else Match.YES
        if self.exact is not None:
            return Match.YES if self.exact == _canonical(arguments) else Match.NO
        if self.anywhere is not None:
            return max((_try(name, self.anywhere, value) for name, value in arguments.items()), default=Match.NO)
        found = (
            glob.match(arguments[name], strictly=strictly) if name in arguments else Match.NO
            for name, glob in self.globs
        )
        return min(found, default=Match.YES)


def parse_entry(text: str, *, folder: str | None = None) -> Entry:
    """Read `tool`, `tool(argument=glob, …)` or `tool {"all": "arguments"}`.

    `*` and `?` stand for any characters, also in the tool's name. A glob that contains a comma stands in double quotes,
    like a string of JSON. Relative paths begin in `folder`.

    Raises:
        RuleError: the entry cannot be read.
    """
    match = _ENTRY.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise _error(text, "write `tool`, `tool(argument=glob)` or `tool(first=glob, second=glob)`")
    tool = re.compile(fnmatch.translate(match["tool"]))
    if match["exact"] is not None:
        return Entry(text, tool, exact=_read_exact(text, match["exact"]))
    if match["inside"] is not None:
        return Entry(text, tool, globs=_read_globs(text, match["inside"], folder))
    return Entry(text, tool)


def parse_pattern(tool: str, text: str, *, folder: str | None = None) -> Entry:
    """Read a line of a tool's `require_approval`: an entry, what stands in its brackets, or a glob for any argument.

    Raises:
        RuleError: the line cannot be read.
    """
    if not isinstance(text, str) or not text.strip():
        raise _error(text, "write `argument=glob`, or a glob for any argument of the tool")
    if re.match(rf"\s*{re.escape(tool)}\s*([({{]|$)", text):
        return parse_entry(text, folder=folder)
    this = re.compile(re.escape(tool))
    if _FIELD.match(text):
        return Entry(text, this, globs=_read_globs(text, text, folder))
    return Entry(text, this, anywhere=(text.strip(), folder))


def exact_entry(tool: str, arguments: Mapping[str, Any]) -> str:
    """The entry that means calls of this tool with exactly these arguments."""
    return f"{tool} {_canonical(arguments).decode()}"


def _try(name: str, anywhere: tuple[str, str | None], value: Any) -> Match:
    pattern, folder = anywhere
    try:
        return glob_for(name, pattern, folder=folder).match(value, strictly=True)
    except ValueError:  # no glob for an argument of this kind
        return Match.NO


def _read_exact(text: str, exact: str) -> bytes:
    try:
        return _canonical(json.loads(exact))
    except ValueError as exc:
        raise _error(text, "what follows the tool's name must be a JSON object with all arguments") from exc


def _read_globs(text: str, inside: str, folder: str | None) -> tuple[tuple[str, Glob], ...]:
    globs = []
    for name, pattern in _fields(text, inside):
        try:
            globs.append((name, glob_for(name, pattern, folder=folder)))
        except ValueError as exc:
            raise _error(text, str(exc)) from exc
    return tuple(globs)


def _fields(text: str, inside: str) -> Iterator[tuple[str, str]]:
    place = 0
    while True:
        field = _FIELD.match(inside, place)
        if field is None:
            raise _error(text, "in the brackets stands `argument=glob`, separated by commas")
        quoted = _QUOTED.match(inside, field.end())
        end = _NEXT.search(inside, quoted.end() if quoted else field.end())
        raw = inside[field.end() : end.start() if end else len(inside)].strip()
        if not quoted and "," in raw:
            raise _error(text, f"the glob for `{field['name']}` has a comma, so it must stand in double quotes")
        pattern = _unquoted(text, raw) if quoted else raw
        if not pattern:
            raise _error(text, f"the glob for `{field['name']}` is empty; `*` stands for anything")
        yield field["name"], pattern
        if end is None:
            return
        place = end.end()


def _unquoted(text: str, raw: str) -> str:
    try:
        return str(json.loads(raw))
    except ValueError as exc:
        raise _error(text, "the quoted glob must be written like a string of JSON") from exc


def _error(text: object, what: str) -> RuleError:
    return RuleError(f"The rule `{neutral.escape(str(text)[:200])}` cannot be read: {what}.")


def _canonical(arguments: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
