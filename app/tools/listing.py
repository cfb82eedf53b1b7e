"""What is in a folder of the workspace: a walk over descriptors, so that no link leads it astray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from app.tools.descent import MAX_DEPTH
from app.tools.globs import fits
from app.tools.workspace import Parts, Workspace

MAX_VISITED = 100_000

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Listing:
    """Paths relative to the folder, in order; folders end in `/`, links in `@`. `is_cut`: there are more."""

    paths: list[str]
    is_cut: bool = False


def list_folder(workspace: Workspace, path: str, pattern: str | None, *, max_entries: int) -> Listing:
    """The entries of a folder, or everything beneath it that is as the pattern.

    A pattern without a slash is about a name at any depth.

    Raises:
        ToolFailed: there is no such folder, or it may not be opened.
    """
    wanted = None if not pattern else _parts(pattern)
    listing = Listing([])
    with workspace.folder(path) as (descent, real):
        found = _walk(workspace, os.dup(descent.folder), real, (), is_deep=wanted is not None)
        for visited, (parts, mark) in enumerate(found):
            if wanted is None or fits(parts, wanted):
                listing.paths.append("/".join(parts) + mark)
            if len(listing.paths) > max_entries or visited >= MAX_VISITED:
                listing.is_cut = True
                break
    del listing.paths[max_entries:]
    return listing


def _parts(pattern: str) -> Parts:
    parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
    return parts if "/" in pattern.removeprefix("./") else ("**", *parts)


def _walk(workspace: Workspace, fd: int, real: Parts, above: Parts, *, is_deep: bool) -> Iterator[tuple[Parts, str]]:
    """Everything in the open folder (which is closed here) with its mark, each folder before what is in it."""
    try:
        with os.scandir(fd) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
        for entry in entries:
            if not workspace.shows((*real, entry.name)):
                continue
            parts = (*above, entry.name)
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder or workspace.fits_extension(entry.name):
                yield parts, "/" if is_folder else "@" if entry.is_symlink() else ""
            if is_deep and is_folder and len(parts) < MAX_DEPTH:
                try:
                    inner = os.open(entry.name, _FOLDER, dir_fd=fd)
                except OSError:
                    continue  # gone since, or not for us: the rest of the list is still true
                yield from _walk(workspace, inner, (*real, entry.name), parts, is_deep=True)
    finally:
        os.close(fd)
