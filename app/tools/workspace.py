"""Workspace: the files that tools may open, and the only way to them.

Whatever a path is made of (`..`, absolute, links, links that change while they are looked at), what is checked is the
descriptor that is used. The sentences of refusals are for a model: they say what is allowed instead.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.tools.base import ToolFailed
from app.tools.descent import Descent, LeadsOut, TooDeep
from app.tools.globs import fits_beginning
from app.tools.replacing import OWN_PREFIX, keep_previous, replace

Parts = tuple[str, ...]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a pipe would block without end
_BROKEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_LOCKS: dict[str, threading.Lock] = {}
"""By root: each tool may have a workspace of its own, and what reads and writes a file again waits for the others."""
_SQLITE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Content:
    """A file that was read. `path`: where it really is, relative to the root if it lies beneath it."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A file that was written. `before` is `None` where there was none."""

    path: str
    before: bytes | None
    after: bytes


class Workspace:
    """Folders in which tools may read and write regular files.

    Args:
        root: where relative paths start; created when it is first used.
        allowed_paths: folders or files that may be opened; relative ones start at `root`, absolute ones may lie
            outside of it. Empty: everything beneath `root`.
        denied_paths: folders or files that may not be opened although they are beneath an allowed one; relative ones
            start at `root`. `*`, `?` and `[…]` stand for characters of one name (`secrets/*.key`). Compared without
            regard to case.
        allowed_extensions: endings of the names of files that may be opened, with or without the dot (`.py`, `md`);
            empty: all.
        forbidden_extensions: endings of the names of files that may not; they beat `allowed_extensions`.
        protected: files and folders of the server (its configuration, its database) that no tool may open wherever
            they are, nor what SQLite keeps beside a database (`-wal`, `-shm`, `-journal`).
        max_file_size: bytes of the largest file that is read or written.
        max_read: bytes of text that one call of `read_file` returns.

    Methods block, are safe to call from several threads, and raise `ToolFailed` with a sentence for the model.
    """

    def __init__(
        self,
        root: Path,
        *,
        allowed_paths: Sequence[str | Path] = (),
        denied_paths: Sequence[str | Path] = (),
        allowed_extensions: Sequence[str] = (),
        forbidden_extensions: Sequence[str] = (),
        protected: Iterable[Path] = (),
        max_file_size: int = 1 << 20,
        max_read: int = 256 << 10,
    ) -> None:
        self.root = Path(os.path.abspath(root))
        self.max_file_size = max_file_size
        self.max_read = max_read
        self._real_root = os.path.realpath(self.root)
        allowed = [self._configured(path) for path in allowed_paths] or [self._real_root]
        self._allowed = [_parts(path) for path in allowed]
        self._anchors = _outermost([self._real_root, *(_folder_of(path) for path in allowed)])
        written = {os.path.normpath(os.path.join(self.root, path)) for path in ("", *allowed_paths)}
        self._ways = [(path, *self._anchored(path)) for path in (*allowed, self._real_root, *sorted(written))]
        self._denied = [_folded(_parts(self._configured(path))) for path in denied_paths]
        self._extensions = tuple(_extension(one) for one in allowed_extensions)
        self._forbidden = tuple(_extension(one) for one in forbidden_extensions)
        self._protected = _with_siblings(os.path.realpath(path) for path in protected)
        self._names = [str(path) for path in allowed_paths]
        self._lock = _LOCKS.setdefault(self._real_root, threading.Lock())

    def read(self, path: str) -> Content:
        """A whole regular file."""
        with self._told(path), self._descent(path) as (descent, name, anchor):
            real = self._checked(anchor, descent, name)
            _, content = self._opened(descent, real[-1])
            return Content(self._shown(real), content)

    def write(self, path: str, content: bytes) -> Change:
        """Create the file, and the folders above it, or replace it at once; its previous content is kept beside."""
        return self._change(path, lambda _before: content)

    def edit(self, path: str, edit: Callable[[bytes], bytes]) -> Change:
        """Replace the content of an existing file by what `edit` makes of it, which may raise `ToolFailed`."""

        def edited(before: bytes | None) -> bytes:
            if before is None:
                raise FileNotFoundError(errno.ENOENT, "no such file")
            return edit(before)

        return self._change(path, edited)

    @contextmanager
    def folder(self, path: str) -> Iterator[tuple[Descent, Parts]]:
        """An open folder, with the parts of its real absolute path. What is beneath it is asked for by `shows`."""
        with self._told(path):
            anchor, parts = self._located(path)
            os.makedirs(anchor, exist_ok=True)
            with Descent(anchor) as descent:
                descent.enter(parts)
                real = (*_parts(anchor), *descent.names)
                if not self.shows(real):
                    raise self._refusal(path)
                yield descent, real

    def shows(self, real: Parts) -> bool:
        """Whether a list may show the path: it is allowed, or a folder above what is."""
        if any(name.startswith(OWN_PREFIX) for name in real[-1:]) or self._is_denied(real) or self._is_protected(real):
            return False
        return any(real[: len(one)] == one[: len(real)] for one in self._allowed)

    def fits_extension(self, name: str) -> bool:
        folded = name.casefold()
        return not folded.endswith(self._forbidden) and (not self._extensions or folded.endswith(self._extensions))

    @property
    def allows(self) -> str:
        """What is allowed, as the end of a refusal."""
        if not self._names:
            return "Use a path inside the workspace, such as `notes/todo.txt`."
        return f"Allowed are: {', '.join(f'`{name}`' for name in self._names)}."

    def _change(self, path: str, edit: Callable[[bytes | None], bytes]) -> Change:
        with self._told(path), self._lock, self._descent(path) as (descent, name, anchor):
            real = self._checked(anchor, descent, name)
            if any(part.startswith(OWN_PREFIX) for part in real):
                raise ToolFailed(f"Names that begin with `{OWN_PREFIX}` belong to the server. Choose another name.")
            status, before = self._previous(descent, real[-1])
            after = edit(before)
            if len(after) > self.max_file_size:
                raise ToolFailed(
                    f"The content has {len(after)} bytes, more than the {self.max_file_size} a file may have "
                    "(max_file_size). Write less, or several files."
                )
            if after != before:
                descent.create_missing()
                if before is not None:
                    keep_previous(anchor, real[len(_parts(anchor)) :], before)
                replace(descent.folder, real[-1], after, like=status)
            return Change(self._shown(real), before, after)

    @contextmanager
    def _descent(self, path: str) -> Iterator[tuple[Descent, str, str]]:
        anchor, parts = self._located(path)
        os.makedirs(anchor, exist_ok=True)
        with Descent(anchor) as descent:
            name = descent.approach(parts)
            if name is None:
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            yield descent, name, anchor

    def _located(self, path: str) -> tuple[str, list[str]]:
        """The anchor beneath which the path lies as it is written, and the rest of the path."""
        if _BROKEN.search(path):
            raise ToolFailed(f"{path!r} is not a path: it has control or broken characters.")
        if path.startswith("~"):
            raise self._refusal(path)
        given = os.path.join(self.root, path)
        for written, anchor, above in self._ways:
            if _is_beneath(given, written):
                return anchor, [*above, *given[len(written) :].split("/")]
        raise self._refusal(path)

    def _anchored(self, path: str) -> tuple[str, Parts]:
        """The anchor above a path of the configuration, and the parts between them."""
        real = self._configured(path)
        anchor = next(anchor for anchor in self._anchors if _is_beneath(real, anchor))
        return anchor, _parts(real)[len(_parts(anchor)) :]

    def _checked(self, anchor: str, descent: Descent, name: str) -> Parts:
        """The parts of the real absolute path of a file, if the rules allow it."""
        real = (*_parts(anchor), *descent.names, *descent.missing, name)
        shown = self._shown(real)
        if not any(real[: len(one)] == one for one in self._allowed):
            raise self._refusal(shown)
        if self._is_denied(real):
            raise ToolFailed(f"`{shown}` may not be opened (denied_paths). {self.allows}")
        if self._is_protected(real):
            raise ToolFailed(f"`{shown}` belongs to the server; no tool may open it. {self.allows}")
        if not self.fits_extension(name):
            allowed = f"Allowed are {', '.join(self._extensions)}." if self._extensions else "Choose another ending."
            raise ToolFailed(f"`{shown}` has an ending that is not allowed. {allowed}")
        return real

    def _previous(self, descent: Descent, name: str) -> tuple[os.stat_result | None, bytes | None]:
        if descent.missing:
            return None, None
        try:
            return self._opened(descent, name)
        except FileNotFoundError:
            return None, None

    def _opened(self, descent: Descent, name: str) -> tuple[os.stat_result, bytes]:
        if descent.missing:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        # Looked at before, because opening some devices does something; looked at again, because it may be another now.
        self._check_kind(os.stat(name, dir_fd=descent.folder, follow_symlinks=False), name)
        with open(os.open(name, _READ, dir_fd=descent.folder), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            self._check_kind(status, name)
            content = _read_up_to(file.fileno(), self.max_file_size + 1)
        if len(content) > self.max_file_size:
            raise self._too_large(name, len(content))
        return status, content

    def _check_kind(self, status: os.stat_result, name: str) -> None:
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, "became a link")
        if not stat.S_ISREG(status.st_mode):
            raise ToolFailed(f"`{name}` is a device, a pipe or a socket; only regular files may be opened.")
        if status.st_nlink > 1:
            raise ToolFailed(
                f"`{name}` is hard-linked: the same file has another name, perhaps outside of the workspace. "
                "Write a copy under a new name."
            )
        if self._is_inode_of_server(status):
            raise ToolFailed(f"`{name}` belongs to the server; no tool may open it. {self.allows}")
        if status.st_size > self.max_file_size:
            raise self._too_large(name, status.st_size)

    def _too_large(self, name: str, size: int) -> ToolFailed:
        return ToolFailed(
            f"`{name}` has {size} bytes or more, and files of up to {self.max_file_size} may be opened (max_file_size)."
        )

    def _is_denied(self, real: Parts) -> bool:
        folded = _folded(real)
        return any(fits_beginning(folded, denied) for denied in self._denied)

    def _is_protected(self, real: Parts) -> bool:
        return any(real[: len(one)] == one for one in self._protected)

    def _is_inode_of_server(self, status: os.stat_result) -> bool:
        for parts in self._protected:
            try:
                other = os.stat("/" + "/".join(parts))
            except OSError:
                continue
            if os.path.samestat(status, other):
                return True
        return False

    def _refusal(self, path: str) -> ToolFailed:
        return ToolFailed(f"`{path}` is outside of what may be opened. {self.allows}")

    def _shown(self, real: Parts) -> str:
        root = _parts(self._real_root)
        return "/".join(real[len(root) :]) or "." if real[: len(root)] == root else "/" + "/".join(real)

    def _configured(self, path: str | Path) -> str:
        """The absolute path of one in the configuration. Beneath the root it stays as written: a link that something
        puts there later must not widen what is allowed."""
        joined = os.path.normpath(os.path.join(self.root, path))
        if _is_beneath(joined, str(self.root)):
            return os.path.normpath(os.path.join(self._real_root, os.path.relpath(joined, self.root)))
        return os.path.realpath(joined)

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Errors of the system, and of the descent, as sentences for the model."""
        try:
            yield
        except LeadsOut as error:
            raise ToolFailed(f"`{path}` leads out of the workspace, by {error}. {self.allows}") from None
        except TooDeep as error:
            raise ToolFailed(f"`{path}` cannot be opened: {error}.") from None
        except OSError as error:
            raise ToolFailed(_sentence(path, error)) from error


def _sentence(path: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | None:
            return f"`{path}` does not exist. `list_files` shows what there is."
        case errno.EISDIR:
            return f"`{path}` is a folder, not a file. `list_files` shows what is in it."
        case errno.ENOTDIR:
            return f"`{path}` is not beneath a folder: a part of the path is a file."
        case errno.ELOOP | errno.EMLINK:
            return f"`{path}` became a link while it was opened; links that change are not followed. Try again."
        case errno.EACCES | errno.EPERM:
            return f"`{path}` may not be opened by the server: the permissions of the file or its folder forbid it."
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full: `{path}` was not written, and what was there is unchanged."
        case errno.EROFS:
            return f"`{path}` is on a file system that is read-only."
        case errno.ENAMETOOLONG:
            return "The path is too long: a name has up to 255 bytes. Choose a shorter one."
        case _:
            return f"`{path}` cannot be opened: {(error.strerror or type(error).__name__).lower()}."


def _read_up_to(fd: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := os.read(fd, min(size, 1 << 20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _parts(path: str) -> Parts:
    return tuple(part for part in path.split("/") if part)


def _folded(parts: Parts) -> Parts:
    return tuple(part.casefold() for part in parts)


def _extension(written: str) -> str:
    return "." + written.strip().lstrip("*").lstrip(".").casefold()


def _is_beneath(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _folder_of(path: str) -> str:
    return os.path.dirname(path) if os.path.isfile(path) else path


def _outermost(folders: Iterable[str]) -> list[str]:
    """The folders that are not beneath another of them."""
    found: list[str] = []
    for folder in sorted(set(folders), key=len):
        if not any(_is_beneath(folder, other) for other in found):
            found.append(folder)
    return found


def _with_siblings(paths: Iterable[str]) -> list[Parts]:
    return [_parts(path + ending) for path in paths for ending in ("", *_SQLITE)]
