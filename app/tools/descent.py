"""Descent: a way through folders, one descriptor after the other, that never leaves the folder where it began.

A path is never checked as text and opened afterwards: another process can put a link in the place of a folder between
the two. Each folder is opened beneath the descriptor of the one above, without following links; a link is read and its
target walked the same way, and `..` goes back to the descriptor we came from.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

MAX_DEPTH = 64
MAX_LINKS = 16

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LeadsOut(Exception):
    """The path leaves the folder where the descent began: by `..`, or by a link; the message says by which."""


class TooDeep(Exception):
    """More folders inside each other, or more links, than anyone needs."""


class Descent:
    """Open folders from `anchor` (an absolute path, chosen by the operator) down; a context manager that closes them.

    `names`: the real names of the folders below the anchor, links replaced by what they lead to. `missing`: further
    folders of the path that do not exist.
    """

    def __init__(self, anchor: str) -> None:
        """Raises OSError: the anchor cannot be opened as a folder."""
        self._fds = [os.open(anchor, _FOLDER)]
        self.names: list[str] = []
        self.missing: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._fds:
            os.close(self._fds.pop())

    @property
    def folder(self) -> int:
        """The descriptor of the deepest folder; it belongs to the descent."""
        return self._fds[-1]

    def enter(self, parts: Iterable[str]) -> None:
        """Go down the whole path, which is one of folders.

        Raises:
            FileNotFoundError: a folder does not exist.
            LeadsOut, TooDeep, OSError
        """
        self._walk(parts, to_name=False)
        if self.missing:
            raise FileNotFoundError("no such folder")

    def approach(self, parts: Iterable[str]) -> str | None:
        """Go down to the folder of the last part, and return its real name; `None`: the path is that of a folder.

        What the name stands for is not opened; it was no link when it was looked at. Folders that do not exist are
        collected in `missing`.

        Raises:
            LeadsOut, TooDeep, OSError
        """
        name = self._walk(parts, to_name=True)
        return self.missing.pop() if name is None and self.missing else name

    def create_missing(self) -> None:
        """Create the missing folders and go down into them. Raises OSError."""
        while self.missing:
            name = self.missing.pop(0)
            try:
                os.mkdir(name, dir_fd=self.folder)
            except FileExistsError:
                pass
            self._open(name)

    def _walk(self, parts: Iterable[str], *, to_name: bool) -> str | None:
        pending = deque(part for part in parts if part not in ("", "."))
        links, way = 0, "`..`"
        while pending:
            part = pending.popleft()
            if part == "..":
                self._leave(way)
            elif len(self.names) + len(self.missing) >= MAX_DEPTH:
                raise TooDeep(f"more than {MAX_DEPTH} folders inside each other")
            elif self.missing:
                self.missing.append(part)
            elif (target := _link_target(part, self.folder)) is not None:
                links, way = links + 1, f"the link `{part}`"
                if links > MAX_LINKS:
                    raise TooDeep("too many links")
                if target.startswith("/"):
                    raise LeadsOut(way)
                pending.extendleft(inner for inner in reversed(target.split("/")) if inner not in ("", "."))
            elif to_name and not pending:
                return part
            else:
                self._enter(part)
        return None

    def _enter(self, part: str) -> None:
        try:
            self._open(part)
        except FileNotFoundError:
            self.missing.append(part)

    def _open(self, name: str) -> None:
        self._fds.append(os.open(name, _FOLDER, dir_fd=self.folder))
        self.names.append(name)

    def _leave(self, way: str) -> None:
        if self.missing:
            self.missing.pop()
        elif self.names:
            self.names.pop()
            os.close(self._fds.pop())
        else:
            raise LeadsOut(way)


def _link_target(name: str, folder: int) -> str | None:
    """Where the link leads; `None`: it is none, or is not there."""
    try:
        return os.readlink(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # no link
            return None
        raise
