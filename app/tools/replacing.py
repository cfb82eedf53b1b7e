"""Replacing the content of a file at once, beneath an open folder, and keeping its previous version."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Sequence

from app.tools.descent import Descent

OWN_PREFIX = ".hector-"
"""Names that begin so are the server's own: they are not listed, and tools do not write them."""
BACKUP = OWN_PREFIX + "backup"
"""The folder that holds the previous version of every file that was replaced."""

_MAX_NAME = 240
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace(folder: int, name: str, content: bytes, *, like: os.stat_result | None = None) -> None:
    """Give the file `name` of the open `folder` this content, all of it or none.

    Whatever has the name is not written to: its entry is replaced, so a link, a pipe or a hard link put there in
    between leads nowhere. The new file has the permissions and owner of `like`, else those that the umask leaves.

    Raises:
        OSError: nothing has changed.
    """
    temporary = f"{OWN_PREFIX}{secrets.token_hex(8)}.tmp"
    fd = os.open(temporary, _NEW, 0o666, dir_fd=folder)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            if like is not None:
                _resemble(fd, like)
            os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


def keep_previous(anchor: str, path: Sequence[str], content: bytes) -> None:
    """Store the content as the previous version of the file at `path` beneath the folder `anchor`. Raises OSError.

    The versions are in one folder (`src%2Fnotes.txt`): a path may once be that of a file and once of a folder.
    """
    name = "%2F".join(part.replace("%", "%25") for part in path)
    if len(name.encode()) > _MAX_NAME:
        name = hashlib.sha256(name.encode()).hexdigest() + name.encode()[-_MAX_NAME // 2 :].decode(errors="ignore")
    with Descent(anchor) as descent:
        descent.missing.append(BACKUP)
        descent.create_missing()
        replace(descent.folder, name, content)


def _resemble(fd: int, like: os.stat_result) -> None:
    own = os.fstat(fd)
    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        try:
            os.fchown(fd, like.st_uid, like.st_gid)
        except PermissionError:
            pass  # only root may give a file away
    os.fchmod(fd, stat.S_IMODE(like.st_mode) & 0o777)
