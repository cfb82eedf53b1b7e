"""What a command may touch: its folders, and no network. By `bwrap` or Landlock, whichever is there.

`bwrap` gives a command a file system, processes and a network of its own; Landlock (Linux 5.13, no package needed)
lets it open only what is listed, and signal only itself (Linux 6.12). With `none` nothing but the network is withheld,
and that only where the system has seccomp.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal

from app.tools.base import ToolFailed
from app.tools.confine import has_socket_filter, landlock_abi

Wanted = Literal["auto", "bwrap", "landlock", "none", "required"]


class Level(StrEnum):
    """What confines commands, the strongest first."""

    BWRAP = "bwrap"
    LANDLOCK = "landlock"
    NONE = "none"


CODE = str(Path(__file__).parents[2])
PYTHON = (sys.executable, "-I", "-S", "-c")
"""Starts our own code without the packages of the server, and without anything that the environment could add."""

_TRY = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from app.tools.confine import confine
confine(json.loads(sys.argv[2]))
os.execv(sys.argv[3], sys.argv[4:])
"""

_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libexec", "share", "include")
_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "nsswitch.conf", "protocols", "services"),
    *("localtime", "timezone", "os-release", "debian_version", "mime.types", "magic", "terminfo", "inputrc", "fonts"),
    *("ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "pki/ca-trust", "ca-certificates", "bash.bashrc", "profile"),
    *("gitconfig", "perl", "java", "java-17-openjdk", "java-21-openjdk"),
)
READABLE = (
    *(f"/usr/{name}" for name in _USR),
    *(f"/usr/local/{name}" for name in _USR),
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64"),
    *(f"/etc/{name}" for name in _ETC),
)
"""Where programs and what they need are. `/usr/src`, `/opt` and homes are not among it, nor the rest of `/etc`: who has
an account here, and whose keys."""
_RESOLVER = ("/etc/resolv.conf", "/etc/hosts", "/etc/gai.conf")
_KERNEL = (
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version"),
    *("/proc/filesystems", "/proc/sys", "/sys/devices/system/cpu", "/sys/kernel/mm/transparent_hugepage"),
)
"""For Landlock, which cannot show a process itself alone: `/proc` has the environment of others."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_SHARED_MEMORY = 64 << 20


@dataclass(frozen=True, slots=True)
class Confined:
    """How a program is started within the sandbox: what the keeper is told."""

    program: str
    arguments: list[str]
    confine: dict[str, Any]
    wrappers: int = 0
    """How many processes stand between the keeper and the program."""


class Sandbox:
    """Confines programs to a folder.

    Args:
        wanted: `auto` takes the strongest level that works here; a name takes that one; `required` takes the
            strongest but `none`.
        network: whether programs may use the network.
        readable: further files and folders that may be read, and programs executed from.
        writable: further folders that may be written.
        protected: files of the server; where one is beneath a readable folder, it is left out.
    """

    def __init__(
        self,
        wanted: Wanted = "auto",
        *,
        network: bool = False,
        readable: Iterable[Path] = (),
        writable: Iterable[Path] = (),
        protected: Iterable[Path] = (),
    ) -> None:
        self._wanted = wanted
        self._network = network
        self._writable = [os.path.realpath(path) for path in writable]
        hidden = [os.path.realpath(path) for path in protected]
        wanted_paths = [*READABLE, *(_RESOLVER if network else ()), *(os.path.realpath(path) for path in readable)]
        self._readable = [found for path in wanted_paths for found in _without(path, hidden)]

    def level(self) -> Level:
        """The level that is used. Blocks when it is first asked for: each level is really tried, once.

        Raises:
            ToolFailed: what is wanted is not available here.
        """
        if self._wanted not in ("auto", "required"):
            level = Level(self._wanted)
            if not works(level):
                raise ToolFailed(f"Commands cannot be run: the sandbox {level.value!r} does not work on this server.")
            return level
        level = detect()
        if level is Level.NONE and self._wanted == "required":
            raise ToolFailed(
                "Commands cannot be run: a sandbox is required, and neither bwrap nor Landlock works here."
            )
        return level

    @property
    def is_cut_off(self) -> bool:
        """Whether no program reaches the network, whichever level is used. Does not block."""
        return not self._network and (self._wanted == "bwrap" or has_socket_filter())

    @property
    def sentence(self) -> str:
        """What confines commands, for the log of a start. Blocks as `level` does. Raises ToolFailed likewise."""
        level = self.level()
        is_cut_off = not self._network and (level is Level.BWRAP or has_socket_filter())
        network = "without network" if is_cut_off else "with network"
        match level:
            case Level.BWRAP:
                return f"Commands run in a sandbox of bwrap: own files and processes, {network}."
            case Level.LANDLOCK:
                return f"Commands run in a sandbox of Landlock (ABI {landlock_abi()}): own files, {network}."
            case Level.NONE:
                return f"Commands run without a sandbox, {network}: they can open whatever the server can."

    def confined(
        self, level: Level, program: str, arguments: Sequence[str], *, root: str, folder: str, temporary: str
    ) -> Confined:
        """How to start `program` (a path) in `folder`. It may write beneath `root`, where `folder` is, and beneath
        `temporary`."""
        readable = [*self._readable, *([] if is_beneath(program, root) else self._prefixes_of(program))]
        if level is Level.BWRAP:
            return self._in_bwrap(program, arguments, readable, root=root, folder=folder, temporary=temporary)
        confine = {
            "files": level is Level.LANDLOCK,
            "read": [*readable, *_KERNEL],
            "write": [root, temporary, *self._writable, *_DEVICES],
            "network": self._network,
            "sockets": not has_socket_filter() or (level is Level.NONE and self._network),
        }
        return Confined(program, list(arguments), confine)

    def _prefixes_of(self, program: str) -> Iterator[str]:
        """What a program needs that is installed in a place of its own, such as an interpreter."""
        for path in {program, os.path.realpath(program)}:
            if any(is_beneath(path, known) for known in self._readable):
                continue
            yield path
            folder = os.path.dirname(path)
            if os.path.basename(folder) == "bin":
                yield from (os.path.join(os.path.dirname(folder), name) for name in (*_USR, "pyvenv.cfg"))

    def _in_bwrap(
        self, program: str, arguments: Sequence[str], readable: list[str], *, root: str, folder: str, temporary: str
    ) -> Confined:
        options = ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev"]
        options += ["--size", str(_SHARED_MEMORY), "--tmpfs", "/dev/shm"]
        options += ["--share-net"] if self._network else []
        for path in readable:
            if os.path.islink(path) and path.count("/") == 1:  # /bin is a link to usr/bin on most systems
                options += ["--symlink", os.readlink(path), path]
            else:
                options += ["--ro-bind-try", path, path]
        for path in (temporary, *self._writable, root):
            options += ["--bind", path, path]
        options += ["--remount-ro", "/", "--chdir", folder, "--", program, *arguments[1:]]
        bwrap = shutil.which("bwrap") or "bwrap"
        free = {"files": False, "read": [], "write": [], "network": True, "sockets": True}
        return Confined(bwrap, [bwrap, *options], free, wrappers=2)


@cache
def detect() -> Level:
    """The strongest level that works here. Blocks for some ten milliseconds when it is first called."""
    return next(level for level in Level if works(level))


@cache
def works(level: Level) -> bool:
    """Whether a program can be run at this level: it is tried, once. Blocks."""
    if level is Level.NONE:
        return True
    if level is Level.BWRAP and not shutil.which("bwrap"):
        return False
    if level is Level.LANDLOCK and landlock_abi() == 0:
        return False
    with tempfile.TemporaryDirectory(prefix="hector-") as folder:
        root = os.path.realpath(folder)
        program = os.path.realpath(shutil.which("true") or "/bin/true")
        confined = Sandbox().confined(level, program, ["true"], root=root, folder=root, temporary=root)
        order = [json.dumps(confined.confine), confined.program, *confined.arguments]
        try:
            tried = subprocess.run([*PYTHON, _TRY, CODE, *order], capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return tried.returncode == 0


def is_beneath(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _without(path: str, hidden: list[str]) -> Iterator[str]:
    """The path, or what is in it but the hidden ones."""
    if any(is_beneath(path, one) for one in hidden):
        return
    if not any(is_beneath(one, os.path.realpath(path)) for one in hidden):
        yield path
        return
    for name in sorted(os.listdir(path)):
        yield from _without(os.path.realpath(os.path.join(path, name)), hidden)
