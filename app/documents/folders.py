"""Folders: lists the files of a store by roots, patterns and limits. Links are never followed.

A link that leads out of the folder would expose files that the operator did not configure, and one that stays inside
leads to a file that is listed anyway. A path of the configuration may itself be a link, because the operator chose it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from app.documents.section import Unreadable

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe in the file's place would block without end


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as its folder lists it. `root`: the configured path it was found under, resolved."""

    path: str
    root: str
    size: int
    mtime_ns: int


def scan(
    roots: Sequence[str], patterns: Sequence[str], *, exclude: Sequence[str], max_files: int, problems: list[str]
) -> Iterator[ListedFile]:
    """Every file of the store once, in order of roots and names. `problems` collects what could not be listed."""
    seen: set[str] = set()
    for root in roots:
        for found in _walk(root, patterns, exclude, problems):
            if found.path in seen:
                continue
            if len(seen) == max_files:
                problems.append(f"there are more than {max_files} files; the rest is left out (max_files)")
                return
            seen.add(found.path)
            yield found


def _walk(root: str, patterns: Sequence[str], exclude: Sequence[str], problems: list[str]) -> Iterator[ListedFile]:
    real = os.path.realpath(root)
    try:
        stat = os.stat(real)
    except OSError as error:
        problems.append(f"{root}: {_words(error)}")
        return
    if os.path.isfile(real):
        yield ListedFile(real, real, stat.st_size, stat.st_mtime_ns)
        return
    wanted = compile_patterns(patterns)
    shows_hidden = names_hidden(patterns)
    folders = [real]
    while folders:
        folder = folders.pop()
        inner = []
        for entry in _entries(folder, problems):
            if entry.is_symlink() or (entry.name.startswith(".") and not shows_hidden):
                continue
            path = os.path.relpath(entry.path, real)
            if is_excluded(path, exclude):
                continue
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.path)
            elif entry.is_file(follow_symlinks=False) and wanted.fullmatch(path):
                try:
                    entry.path.encode()
                    stat = entry.stat(follow_symlinks=False)
                except UnicodeEncodeError:
                    shown = os.fsencode(entry.path).decode("utf-8", "backslashreplace")
                    problems.append(f"{shown}: its name is not UTF-8")
                except OSError:
                    pass  # deleted since the folder was listed
                else:
                    yield ListedFile(entry.path, real, stat.st_size, stat.st_mtime_ns)
        folders += reversed(inner)


def _entries(folder: str, problems: list[str]) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{folder}: {_words(error)}")
        return ()


def open_beneath(root: str, path: str) -> int:
    """A descriptor of a file as `scan` found it.

    Opened folder by folder: whoever can write in the store can put a link in the place of a folder at any moment.

    Raises:
        Unreadable: the file or a folder between it and `root` is a link, or is not beneath `root`.
        OSError
    """
    *folders, name = [path] if path == root else os.path.relpath(path, root).split(os.sep)
    if ".." in (*folders, name):
        raise Unreadable("is outside of its folder")
    opened: int | None = None
    try:
        for folder in [root, *folders] if path != root else []:
            above, opened = opened, os.open(folder, _FOLDER, dir_fd=opened)
            if above is not None:
                os.close(above)
        return os.open(name, _FILE, dir_fd=opened)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENOTDIR):
            raise Unreadable("is a link, and links are not followed") from None
        raise
    finally:
        if opened is not None:
            os.close(opened)


def _words(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def names_hidden(patterns: Sequence[str]) -> bool:
    """Whether names that begin with a dot are included: when a pattern has such a name."""
    return any(part.startswith(".") for pattern in patterns for part in pattern.split("/"))


def is_excluded(path: str, exclude: Sequence[str]) -> bool:
    """Whether a path relative to its root, or a folder above it, is left out of the store."""
    if not exclude:
        return False
    pattern = compile_patterns([_anywhere(one) for one in exclude])
    parts = path.split(os.sep)
    return any(pattern.fullmatch("/".join(parts[:end])) for end in range(1, len(parts) + 1))


def _anywhere(pattern: str) -> str:
    """One without a slash is about a name at any depth; `build/` and `build/**` are about the folder itself."""
    pattern = pattern.removesuffix("/**").removesuffix("/")
    return pattern if "/" in pattern else f"**/{pattern}"


def compile_patterns(patterns: Sequence[str]) -> re.Pattern[str]:
    """A regular expression for the path of a file relative to its root."""
    return _compiled(tuple(patterns))


@cache
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join([_translate(pattern) for pattern in patterns]) or "(?!)", re.IGNORECASE | re.DOTALL)


def _translate(pattern: str) -> str:
    """`**`: any number of folders; `*` and `?`: within one name; `[abc]`: one of these. Case-insensitive."""
    parts = pattern.removeprefix("./").split("/")
    result = ""
    for place, part in enumerate(parts):
        is_last = place == len(parts) - 1
        if part == "**":
            result += ".*" if is_last else "(?:.*/)?"
        else:
            result += _translate_part(part) + ("" if is_last else "/")
    return f"(?:{result})"


def _translate_part(part: str) -> str:
    result, at = "", 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            result += "[^/]*"
        elif char == "?":
            result += "[^/]"
        elif char == "[" and (end := part.find("]", at + 1)) > 0:
            inner = part[at:end].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            result += f"[^{inner[1:]}/]" if inner[0] == "!" else f"[{inner}]"
            at = end + 1
        else:
            result += re.escape(char)
    return result
