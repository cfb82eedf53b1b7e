"""The processes that a command started, down to the last: finding them, and ending them.

Imported by the keeper (`keeper_child.py`), which has nothing but the standard library. On Linux the keeper is their
subreaper: a process whose parent ends becomes its child, wherever it hid (`setsid`, a double fork), so that "no child
is left" means that nothing is. Elsewhere only the process group of the command is ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress

IS_LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")


def become_subreaper() -> None:
    """From now on the orphans among our descendants become our children."""
    if IS_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Kill this process when its parent dies, before or after it executes a program."""
    if IS_LINUX:
        parent = os.getppid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, parents before their children; those that ended meanwhile may be among them."""
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for parent in level for child in _children(parent)]
        found += level
    return found


def memory_of(pid: int) -> int:
    """Bytes of memory of its own that a process uses."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            fields = file.read().split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0  # it ended


class ProcessTree:
    """What this process has started. `main`: the process of the command, leader of its own group."""

    def __init__(self, main: int) -> None:
        self.main = main
        self.status: int | None = None
        """How the main process ended, as `waitpid` tells it."""

    def members(self) -> list[int]:
        return descendants(os.getpid()) if IS_LINUX else [self.main] if self.status is None else []

    def reap(self) -> bool:
        """Take note of those that ended. Whether none is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return False
                if pid == self.main:
                    self.status = status
        except ChildProcessError:
            return True

    def kill_group(self) -> None:
        """Where orphans do not become our children: kill what is left in the group of the main process."""
        if not IS_LINUX:
            with suppress(OSError):
                os.killpg(self.main, signal.SIGKILL)

    def signal(self, number: int, *, skip: int = 0) -> None:
        """Send a signal to every process that is there now but the `skip` outermost, which would take the others with
        them; one that starts meanwhile may miss it."""
        if not IS_LINUX:
            with suppress(OSError):
                os.killpg(self.main, number)
        for pid in self.members()[skip:]:
            with suppress(OSError):
                os.kill(pid, number)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # it ended
    return found


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
