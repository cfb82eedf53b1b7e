"""A command line as words, for rules: what a program would be given, and what a shell would do beyond that."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<blank> [ \t\r]+ )
    | (?P<operator> [;&|\n()<>]+ )
    | (?P<single> '[^']*' )
    | (?P<double> "(?:[^"\\]|\\.)*" )
    | (?P<escaped> \\. )
    | (?P<plain> [^ \t\r\n;&|()<>'"\\]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r'\\([\\"])')
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_BEFORE = frozenset(
    {"!", "{", "if", "then", "else", "elif", "do", "while", "until", "time", "exec", "command", "builtin", "eval"}
    | {"env", "nohup", "nice", "sudo", "doas", "xargs", "busybox"}
)
"""Words that stand before a program: of a shell, and programs that start another."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """`commands`: the simple commands of the line, each its words. `has_operators`: a shell would start several, or
    redirect. `expands`: a shell would put something else in the place of a `$…`, a back-quote, braces, the end of a
    line, or a glob for a program."""

    commands: tuple[tuple[str, ...], ...]
    has_operators: bool = False
    expands: bool = False

    @property
    def needs_shell(self) -> bool:
        return self.has_operators or self.expands


def split(line: str) -> CommandLine | None:
    """The commands of a line; `None`: a quote is never closed, so it cannot be told."""
    commands: list[list[str]] = [[]]
    parts: list[str] = []  # of the word that is being read
    has_operators = expands = is_word = False
    place = 0
    while match := _TOKEN.match(line, place):
        place = match.end()
        kind, text = match.lastgroup, match[0]
        if kind in ("blank", "operator"):
            if is_word:
                commands[-1].append("".join(parts))
            parts, is_word = [], False
            if kind == "operator":
                has_operators = True
                commands.append([])
        else:
            is_word = True
            expands |= _expands(kind, text, is_program=not commands[-1])
            parts.append(_unquoted(kind, text))
    if place < len(line):
        return None
    if is_word:
        commands[-1].append("".join(parts))
    return CommandLine(tuple(tuple(words) for words in commands if words), has_operators, expands)


def _expands(kind: str | None, text: str, *, is_program: bool) -> bool:
    match kind:
        case "single":
            return False
        case "escaped":
            return text == "\\\n"
        case "double":
            return "$" in text or "`" in text or "\\\n" in text
    return any(sign in text for sign in "$`{") or (is_program and any(sign in text for sign in "*?["))


def _unquoted(kind: str | None, text: str) -> str:
    match kind:
        case "single":
            return text[1:-1]
        case "double":
            return _ESCAPE.sub(r"\1", text[1:-1])
        case "escaped":
            return text[1:]
    return text


def program(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words from the program on, without its folder: of `A=1 sudo /bin/rm x` it is `rm x`."""
    start = 0
    while start < len(words) - 1 and (words[start] in _BEFORE or _ASSIGNMENT.match(words[start])):
        start += 1
    first, *rest = words[start:]
    return (first.rpartition("/")[2] or first, *rest)
