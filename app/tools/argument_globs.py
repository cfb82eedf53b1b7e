"""Globs for single arguments of a call. Both sides are normalised by what the argument is: a command, a path, a URL.

A glob is applied in one of two ways. *Strictly*, for rules that forbid or ask: whatever may be meant is meant.
Otherwise, for rules that allow: only what is certainly meant.
"""

from __future__ import annotations

import fnmatch
import json
import posixpath
import re
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from app.tools import command_words

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z*?]+)://(?P<host>[^/]*)(?P<rest>/.*)?", re.DOTALL)
_NOT_IN_ADDRESS = re.compile(r"[\x00-\x20\x7f\\]|[^\x00-\x7f]")
_PORTS = {"http": 80, "https": 443}
_PATHS = frozenset({"path", "paths", "file", "files", "filename", "folder", "directory", "working_directory", "cwd"})


class Match(IntEnum):
    NO = 0
    UNSURE = 1
    """The value cannot be read well enough to tell."""
    YES = 2


class Glob(Protocol):
    """A pattern for one argument."""

    def match(self, value: Any, *, strictly: bool) -> Match: ...


def glob_for(name: str, pattern: str, *, folder: str | None = None) -> Glob:
    """The glob for an argument, chosen by its name. Paths are relative to `folder`.

    Raises:
        ValueError: the pattern can match nothing as it stands; the message says why.
    """
    if name == "command":
        return CommandGlob(pattern)
    if name == "url":
        return UrlGlob(pattern)
    if name in _PATHS or name.endswith("_path"):
        return PathGlob(pattern, folder)
    return TextGlob(pattern, str.upper if name == "method" else str)


class TextGlob:
    """Any text; values that are none count as their JSON."""

    def __init__(self, pattern: str, normalise: Callable[[str], str] = str) -> None:
        self._normalise = normalise
        self._pattern = _compile(normalise(pattern))

    def match(self, value: Any, *, strictly: bool) -> Match:
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)
        return _yes(self._pattern.fullmatch(self._normalise(text)))


class PathGlob:
    """A path, or a list of paths; `.`, `..` and doubled slashes are resolved first. Strictly: also what is below."""

    def __init__(self, pattern: str, folder: str | None) -> None:
        self._folder = folder
        path = self._whole(pattern)
        self._pattern, self._below = _compile(path), _compile(path.rstrip("/") + "/*")

    def match(self, value: Any, *, strictly: bool) -> Match:
        if isinstance(value, list) and value:
            found = [self.match(each, strictly=strictly) for each in value]
            return max(found) if strictly else min(found)
        if not isinstance(value, str) or "\0" in value:
            return Match.UNSURE
        path = self._whole(value)
        return _yes(self._pattern.fullmatch(path) or (strictly and self._below.fullmatch(path)))

    def _whole(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self._folder or "", path)).replace("//", "/")


class UrlGlob:
    """An address: scheme, host with port, and the rest, each against its part of the pattern."""

    def __init__(self, pattern: str) -> None:
        match = _ADDRESS.fullmatch("*://*/*" if pattern == "*" else pattern)
        if match is None:
            raise ValueError("a glob for `url` begins like `https://api.example.org/`, or is `*`")
        self._scheme, self._host = _compile(match["scheme"].lower()), _compile(match["host"].lower())
        self._rest, self._below = _compile(match["rest"] or "/"), _compile((match["rest"] or "/") + "*")

    def match(self, value: Any, *, strictly: bool) -> Match:
        parts = _address(value)
        if parts is None:
            return Match.UNSURE
        scheme, host, rest = parts
        if not self._scheme.fullmatch(scheme) or not self._host.fullmatch(host):
            return Match.NO
        return _yes(self._rest.fullmatch(rest) or (strictly and self._below.fullmatch(rest)))


class CommandGlob:
    """A command, word by word; a `*` as the last word stands for any further words.

    Strictly: any command of the line that begins so, whatever folder its program is named with. Otherwise: the whole
    line, and only if a shell would do no more with it than start this one program.
    """

    def __init__(self, pattern: str) -> None:
        line = command_words.split(pattern)
        if line is None:
            raise ValueError("a quote is never closed")
        if len(line.commands) != 1:
            raise ValueError("a glob for `command` is one command; write an entry for each")
        words = line.commands[0]
        self._is_open = words[-1] == "*"
        self._words = [_compile(word) for word in (words[:-1] if self._is_open else words)]

    def match(self, value: Any, *, strictly: bool) -> Match:
        line = _command_line(value)
        if line is None:
            return Match.UNSURE
        if not strictly:
            return _yes(not line.needs_shell and len(line.commands) == 1 and self._begins(line.commands[0], False))
        for words in line.commands:
            if self._begins(words, True) or self._begins(command_words.program(words), True):
                return Match.YES
        return Match.UNSURE if line.expands else Match.NO

    def _begins(self, words: tuple[str, ...], may_go_on: bool) -> bool:
        if len(words) < len(self._words) or (len(words) > len(self._words) and not (may_go_on or self._is_open)):
            return False
        return all(glob.fullmatch(word) for glob, word in zip(self._words, words, strict=False))


def _command_line(value: Any) -> command_words.CommandLine | None:
    if isinstance(value, str):
        return command_words.split(value)
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return command_words.CommandLine((tuple(value),))
    return None


def _address(value: Any) -> tuple[str, str, str] | None:
    """Scheme, host and the rest in one form; `None`: no address, or one that programs may read differently."""
    if not isinstance(value, str) or _NOT_IN_ADDRESS.search(value):
        return None
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc:
        return None
    host = parts.hostname.rstrip(".") + ("" if port in (None, _PORTS.get(parts.scheme)) else f":{port}")
    path = unquote(parts.path)
    whole = posixpath.normpath("/" + path.lstrip("/")) + ("/" if path.endswith("/") and path.strip("/") else "")
    return parts.scheme, host, whole + (f"?{parts.query}" if parts.query else "")


def _compile(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))


def _yes(found: object) -> Match:
    return Match.YES if found else Match.NO
