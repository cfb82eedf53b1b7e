"""Ending a child process with everything it has started, also what left its process group."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_MARK = "HECTOR_MCP_CHILD"
_POLL_SECONDS = 0.02
_KILL_SECONDS = 2.0


def new_mark() -> str:
    """A word that a child gets in its environment. Descendants inherit it, daemons too, and are found by it."""
    return secrets.token_hex(16)


def marked(mark: str) -> dict[str, str]:
    """The variable of the environment that carries the mark."""
    return {_MARK: mark}


async def end_process(process: asyncio.subprocess.Process, mark: str, seconds: float) -> None:
    """Close its input, then SIGTERM, then SIGKILL to it and all its descendants.

    The first two are given `seconds` each. The process must lead a session of its own.
    """
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    if not await _wait_until_gone(process, mark, seconds):
        await _signal_all(process, mark, signal.SIGTERM)
        if not await _wait_until_gone(process, mark, seconds):
            await _signal_all(process, mark, signal.SIGKILL)
            if not await _wait_until_gone(process, mark, _KILL_SECONDS):
                log.warning("process %d of an MCP server is still there after SIGKILL", process.pid)
    # What was missed may hold the pipes, which would then be read for ever. Nothing public closes them.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        with suppress(PermissionError):
            transport.close()


async def _wait_until_gone(process: asyncio.subprocess.Process, mark: str, seconds: float) -> bool:
    """Not `process.wait()`: that waits for the pipes as well, which a descendant may hold."""
    now = asyncio.get_running_loop().time
    until = now() + seconds
    while now() < until:
        if process.returncode is not None:
            return not await asyncio.to_thread(_living, process.pid, mark)
        await asyncio.sleep(_POLL_SECONDS)
    return False


async def _signal_all(process: asyncio.subprocess.Process, mark: str, sent: signal.Signals) -> None:
    for pid in await asyncio.to_thread(_living, process.pid, mark):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, sent)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sent)


def _living(leader: int, mark: str) -> set[int]:
    """The processes in the session or group of `leader`, and those with the mark; where there is no /proc: the leader,
    if its group has anybody left."""
    if not sys.platform.startswith("linux"):
        try:
            os.killpg(leader, 0)
        except (ProcessLookupError, PermissionError):
            return set()
        return {leader}
    wanted = f"{_MARK}={mark}\0".encode()
    return {int(entry.name) for entry in Path("/proc").iterdir() if _belongs(entry, leader, wanted)}


def _belongs(entry: Path, leader: int, wanted: bytes) -> bool:
    if not entry.name.isdigit():
        return False
    try:
        state, _, group, session = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:4]
        if state in b"ZX":
            return False
        return leader in (int(group), int(session)) or wanted in (entry / "environ").read_bytes()
    except (OSError, ValueError):  # gone meanwhile, or another user's
        return False
