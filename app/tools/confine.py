"""Confining the process that calls, and all it will start, before it executes a program: by Landlock and seccomp.

Both need no package and no privilege, and cannot be undone. Imported by the keeper: standard library only. The numbers
are of the kernel's interface (`linux/landlock.h`, `linux/seccomp.h`, `linux/audit.h`).
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import struct
import sys
from collections.abc import Iterable
from typing import Any

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCK, _MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_TCP = 0b11
_SCOPES = 0b11
"""Abstract Unix sockets and signals stay among the confined processes."""

_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198), "riscv64": (0xC00000F3, 198)}
"""The kernel's name of the architecture, and the number of `socket` there."""
_IO_URING_SETUP = 425
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_AF_INET, _AF_INET6, _AF_NETLINK = 2, 10, 16

_libc = ctypes.CDLL(None, use_errno=True)


def confine(order: dict[str, Any]) -> None:
    """Give up what the order does not leave: `{files, read, write, sockets, network}`.

    `files`: only beneath the paths of `read` may files be read and executed, and beneath those of `write` also be
    written; paths that do not exist are left out. `sockets`: without it, no socket can be made that leads out of the
    tree of processes; with `network`, ones of the internet can.

    Raises:
        OSError: this system cannot do it.
    """
    if not order["files"] and order["sockets"]:
        return
    _call(_libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0))
    if order["files"]:
        _restrict_files(order["read"], order["write"], network=order["network"])
    if not order["sockets"]:
        _refuse_sockets([_AF_INET, _AF_INET6, _AF_NETLINK] if order["network"] else [])


def landlock_abi() -> int:
    """The version of Landlock that the kernel offers; 0: none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))))


def has_socket_filter() -> bool:
    return sys.platform == "linux" and platform.machine() in _ARCHITECTURES


def _restrict_files(read: Iterable[str], write: Iterable[str], *, network: bool) -> None:
    abi = landlock_abi()
    if abi == 0:
        raise OSError("this kernel has no Landlock")
    handled = (1 << 13) - 1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        handled |= right if abi >= since else 0
    attributes = struct.pack("QQQ", handled, _TCP if abi >= 4 and not network else 0, _SCOPES if abi >= 6 else 0)
    attributes = attributes[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _call(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)))
    reading = _EXECUTE | _READ_FILE | _READ_DIR
    writing = handled & ~(_MAKE_CHAR | _MAKE_BLOCK | _MAKE_SOCK | _IOCTL_DEV)
    for paths, rights in ((read, reading), (write, writing)):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    _call(_libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        _call(_libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, ctypes.c_uint32(0)))
    finally:
        os.close(fd)


def _refuse_sockets(families: list[int]) -> None:
    """Let `socket` fail for other families, and what could make sockets in another way. Pairs of sockets stay."""
    if not has_socket_filter():
        raise OSError("sockets cannot be refused on this architecture")
    architecture, socket_number = _ARCHITECTURES[platform.machine()]
    program = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, 0, 1, 0x40000000),  # the x32 calls of x86_64
        (_RETURN, 0, 0, _ERRNO | 38),  # ENOSYS
        (_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _ERRNO | 38),
        (_EQUAL, 1, 0, socket_number),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, 16),  # its first argument
        *((_EQUAL, len(families) - at, 0, family) for at, family in enumerate(families)),
        (_RETURN, 0, 0, _ERRNO | 13),  # EACCES
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    _call(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0))


def _call(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
