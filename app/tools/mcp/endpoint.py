"""Where a server is, and the limits of the connection to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from app.domain.act import ToolClass
from app.domain.label import Reach

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Program:
    """A command with its arguments. `env` is added to the few variables that a child inherits."""

    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """An address that speaks streamable HTTP, and the headers of every request to it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


Endpoint = Program | Address


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tools of a server are taken, their classes, and what they read and send.

    Patterns such as `get_*` or `mcp__time__get_*` are compared with the server's name of a tool, and with the model's.
    """

    include: Sequence[str] = ()
    """Empty: all."""
    exclude: Sequence[str] = ()
    classes: Mapping[str, ToolClass] = field(default_factory=dict)
    """Instead of what the hints of the tools say; the first pattern that fits counts."""
    reads: Mapping[str, Reach] = field(default_factory=dict)
    sends: Mapping[str, Reach] = field(default_factory=dict)
    """Likewise."""

    def takes(self, *names: str) -> bool:
        is_included = not self.include or _fits(names, self.include)
        return is_included and not _fits(names, self.exclude)

    def class_of(self, *names: str) -> ToolClass | None:
        return _first(self.classes, names)

    def reads_of(self, *names: str) -> Reach | None:
        return _first(self.reads, names)

    def sends_of(self, *names: str) -> Reach | None:
        return _first(self.sends, names)


def _first(by_pattern: Mapping[str, T], names: Sequence[str]) -> T | None:
    return next((found for pattern, found in by_pattern.items() if _fits(names, (pattern,))), None)


def _fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and characters."""

    tool_timeout: float = 300.0
    """A call that says nothing for so long, no progress either, is given up."""
    connect_timeout: float = 2.0
    """How long a start, and a call that finds no connection, wait for one."""
    reconnect_timeout: float = 15.0
    """How long a call that lost its connection waits for another one, to be sent again."""
    handshake_timeout: float = 30.0
    """How long a server may take for its handshake and its list of tools."""
    probe_timeout: float = 5.0
    """How long an older server may leave the question for its protocol unanswered."""
    retry_min: float = 0.25
    retry_max: float = 60.0
    """The pause before a connection is tried again, at first and at most."""
    exit_timeout: float = 1.0
    """How long a child process has to leave by itself, and again after SIGTERM."""
    question_timeout: float = 3600.0
    """How long a server of protocol 2025-11-25 is kept waiting for an answer of a person."""
    task_timeout: float = 86_400.0
    """How long a task is followed."""
    refresh: float = 300.0
    """After so long the tools are listed again if the server says neither how long they hold nor when they change."""
    max_message_bytes: int = 8 * 1024 * 1024
    max_result_chars: int = 1_000_000
    max_tools: int = 10_000
