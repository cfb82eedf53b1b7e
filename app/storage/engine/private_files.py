"""Files that are ours alone: other users of the machine neither read nor lock them, no link leads elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def keep_new_files_private() -> None:
    """Whatever this process creates from now on is for its own user."""
    os.umask(0o077)


def make_folder(folder: Path) -> None:
    """Create a folder for our files, if there is none, with those above it. What exists stays as it is."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


def create(path: Path) -> None:
    """Create an empty file for its owner, if there is none; SQLite gives its other files the same permissions."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o600))


def close_to_others(path: Path) -> None:
    """Take the permissions of others from a file of ours; those of its group are the operator's choice."""
    with suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o007:
            path.chmod(mode & ~0o007)


def open_own(path: Path) -> int:
    """A descriptor of a file that nobody else can open: created for its owner, or taken from others.

    Raises:
        OSError: it is a link, no regular file, or belongs to somebody else who could lock it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | _NO_LINK, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new folder, of a name nobody can guess and open to us only, in the folder of `path`; removed with its files."""
    folder = Path(tempfile.mkdtemp(prefix=".hector-", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(fresh: Path, target: Path) -> None:
    """Move a file to a name that nothing has.

    Raises:
        FileExistsError: something has it, if only a link that leads nowhere.
    """
    try:
        os.link(fresh, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a file system without links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(fresh, target)
