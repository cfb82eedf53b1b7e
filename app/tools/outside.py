"""Without a sandbox: the arguments of a command that name a place outside of the workspace. A fence, not a wall: a
program can open what it likes, and only a sandbox keeps it from that."""

from __future__ import annotations

import os
from collections.abc import Sequence

from app.tools.base import ToolFailed
from app.tools.sandbox import READABLE, is_beneath

_HARMLESS = (*READABLE, "/dev/null", "/dev/zero", "/dev/stdin", "/dev/stdout", "/dev/stderr")


def check_arguments(arguments: Sequence[str], *, folder: str, root: str) -> None:
    """Whether an argument, or what follows its `=`, is a path that leads out of `root`, and to something that exists or
    could be created.

    Raises:
        ToolFailed: one does.
    """
    for argument in arguments:
        for written in {argument, argument.rpartition("=")[2], argument.lstrip("-")[1:]}:
            if _leads_out(written, folder, root):
                raise ToolFailed(
                    f"The command was not run: `{argument}` leads out of the workspace. Use paths inside the workspace."
                )


def _leads_out(written: str, folder: str, root: str) -> bool:
    if "/" not in written and written != "..":
        return False
    path = os.path.normpath(os.path.join(folder, os.path.expanduser(written)))
    real = os.path.realpath(path)
    if any(is_beneath(real, place) or is_beneath(path, place) for place in (root, *_HARMLESS)):
        return is_beneath(path, root) and not is_beneath(real, root)
    above = os.path.dirname(path)
    return os.path.lexists(path) or (above != "/" and os.path.isdir(above))
