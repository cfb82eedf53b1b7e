"""A command as a model writes it, taken apart like a shell would but never given to one; and which ones are allowed.

Rules are matched on the list of arguments, word by word: `git status` allows `git status -s`, and `ls` never allows
`ls; rm`, because `;` is no part of a command here.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence

from app.tools import command_words
from app.tools.base import ToolFailed

MAX_CHARACTERS = 100_000

_OPERATOR = re.compile(r"&&|\|\||;;|>>|<<|\$\(|[;|&<>()`\n]")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_OTHER_NAMES = {"python": "python3"}
"""Programs that some systems have under another name only."""


def split_command(command: str) -> list[str]:
    """The arguments of a command, quotes and backslashes taken as a shell takes them. Nothing is expanded.

    Raises:
        ToolFailed: it is empty or not well-formed, or has what only a shell can do.
    """
    command = command.strip()
    if "\0" in command or len(command) > MAX_CHARACTERS:
        raise ToolFailed(f"A command has up to {MAX_CHARACTERS} characters, and no zero bytes.")
    if (operator := shell_operator(command)) is not None:
        name = "a line break" if operator == "\n" else f"`{operator}`"
        raise ToolFailed(
            f"The command was not run: it has {name}, and there is no shell that would understand it. "
            "Run one program at a time, and quote what is meant literally."
        )
    line = command_words.split(command)  # the words that rules were matched with are the words that run
    if line is None:
        raise ToolFailed("The command was not run: a quote is never closed, or a backslash is the last character.")
    if not line.commands or not line.commands[0][0]:
        raise ToolFailed("The command is empty. Name a program and its arguments.")
    return list(line.commands[0])


def shell_operator(command: str) -> str | None:
    """The first thing in a command that only a shell understands, where it is not quoted."""
    at, quote = 0, ""
    while at < len(command):
        char = command[at]
        if char == "\\" and quote != "'":
            if command[at + 1 : at + 2] == "\n":
                return "\n"
            at += 2
            continue
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote = char
        elif quote != "'" and (found := _OPERATOR.match(command, at)) and (not quote or found[0] in ("$(", "`")):
            return found[0]
        at += 1
    return None


def check_allowed(arguments: Sequence[str], *, allowed: Sequence[str], denied: Sequence[str], path: str) -> None:
    """Whether a command may be run. Rules are beginnings of commands; no allowed ones at all allow every command.

    A denied one also fits with further arguments in between (`git push` denies `git -C . push`). A program given by its
    path in a folder of `path` is the same as the one by its name.

    Raises:
        ToolFailed: it may not.
    """
    words = [_name_of(arguments[0], path), *arguments[1:]]
    for rule in denied:
        first, *rest = shlex.split(rule)
        if words[0] == first and _is_among(rest, words[1:]):
            raise ToolFailed(f"The command was not run: `{rule}` is denied (denied_commands).")
    rules = [shlex.split(rule) for rule in allowed]
    if rules and not any(rule == words[: len(rule)] for rule in rules):
        raise ToolFailed(
            f"The command was not run: `{shlex.join(arguments[:2])}` is not allowed. "
            f"Allowed are: {', '.join(f'`{rule}`' for rule in allowed)}."
        )


def find_program(name: str, *, allowed: Sequence[str], path: str, folder: str) -> str:
    """The path of a program: found by its name in the folders of `path`, or by its own path if a rule names it.

    Raises:
        ToolFailed: there is none, or it is named by a path that no rule allows.
    """
    word = _name_of(name, path)
    if "/" in word:
        if word not in [shlex.split(rule)[0] for rule in allowed]:
            raise ToolFailed(
                f"The command was not run: programs are found by their names, and `{name}` is a path. "
                "Scripts are run by their interpreter: `python script.py`, `sh script.sh`."
            )
        found = shutil.which(os.path.join(folder, word))
    else:
        found = shutil.which(word, path=path) or shutil.which(_OTHER_NAMES.get(word, word), path=path)
    if found is None:
        raise ToolFailed(_not_found(name))
    return os.path.abspath(found)


def _name_of(program: str, path: str) -> str:
    folder, name = os.path.split(program)
    return name if folder in path.split(os.pathsep) else program


def _is_among(wanted: Sequence[str], words: Sequence[str]) -> bool:
    """Whether all are there, in this order."""
    rest = iter(words)
    return all(word in rest for word in wanted)


def _not_found(name: str) -> str:
    if name == "cd":
        return "There is no shell, so `cd` does nothing: say where to run a command by `working_directory`."
    if _ASSIGNMENT.match(name):
        return f"There is no shell to set `{name}`: use `env {name} …`."
    return f"There is no program `{name}` here."
