"""A control group that bounds how many tasks a command may have: the kernel refuses more, however fast they multiply.

Where there is none to be had (no root, version 2 without a delegated group, another system) the keeper counts alone.
Standard library only: the keeper uses it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

_PROCESSES_TO_TASKS, _LEAST_TASKS = 8, 256
"""The group counts threads, too, of which a process may have several."""
_MOUNT = "/sys/fs/cgroup"
_PATIENCE_SECONDS = 0.2


class PidsGroup:
    """`path` is `None` where there is no such group."""

    def __init__(self, max_processes: int) -> None:
        self.path: str | None = None
        with suppress(OSError):
            self._make(max(_LEAST_TASKS, _PROCESSES_TO_TASKS * max_processes))

    def _make(self, most: int) -> None:
        parent = _own_group()
        if parent is None:
            return
        path = os.path.join(parent, f"hector-{os.getpid()}")
        os.mkdir(path)
        try:
            _write(os.path.join(path, "pids.max"), str(most))
        except OSError:
            os.rmdir(path)
        else:
            self.path = path

    def join(self) -> None:
        """Put the calling process into the group, and all that it starts."""
        if self.path is not None:
            with suppress(OSError):
                _write(os.path.join(self.path, "cgroup.procs"), str(os.getpid()))

    def close(self) -> None:
        """Remove the group; its last members may take a moment to be gone."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while self.path is not None:
            try:
                os.rmdir(self.path)
            except OSError:
                if time.monotonic() > until:
                    return
                time.sleep(0.005)
            else:
                self.path = None


def _own_group() -> str | None:
    """The folder of the group that this process is in, of version 1 if the controller is there, else of version 2."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        groups = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in groups:
        if "pids" in controllers.split(","):
            return os.path.join(_MOUNT, "pids", path.lstrip("/"))
    return next((os.path.join(_MOUNT, path.lstrip("/")) for _, controllers, path in groups if not controllers), None)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
