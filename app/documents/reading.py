"""ReadingProcess: the parent's side of the child that reads documents; starts it on demand, ends it when idle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

Frame = dict[str, Any]

FRAME_SECONDS = 60.0
"""The longest time to the next frame of an answer."""
IDLE_SECONDS = 30.0
_CODE = str(Path(__file__).parents[2])
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TZ")


class ReadingFailed(Exception):
    """The child was killed or died while answering; the message says which."""


class ReadingProcess:
    """Answers one order at a time. Belongs to one event loop; its creator closes it."""

    def __init__(self, *, frame_seconds: float = FRAME_SECONDS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._frame_seconds = frame_seconds
        self._idle_seconds = idle_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @asynccontextmanager
    async def ask(self, order: Frame) -> AsyncIterator[AsyncIterator[Frame]]:
        """The frames of the answer. Leaving before the last one kills the child; the next order starts another."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        process = await self._started()
        is_done = False

        async def frames() -> AsyncGenerator[Frame, None]:
            nonlocal is_done
            while not is_done:
                frame = await self._next(process)
                is_done = "done" in frame or "problem" in frame
                yield frame

        try:
            assert process.stdin is not None
            process.stdin.write(orjson.dumps(order) + b"\n")
            async with aclosing(frames()) as found:
                yield found
        finally:
            if is_done:
                self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, _end, process)
            else:
                await self._kill()

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        await self._kill()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self.is_running and not _is_ending(self._process):
            return self._process
        await self._kill()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "app.documents.child"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal goes to the whole group; we end our child ourselves
            )
        except OSError as error:
            raise ReadingFailed(f"cannot be read: no process for it can be started: {error}") from error
        return self._process

    async def _next(self, process: asyncio.subprocess.Process) -> Frame:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._frame_seconds):
                size = int.from_bytes(await process.stdout.readexactly(4), "big")
                frame: Frame = orjson.loads(await process.stdout.readexactly(size))
                return frame
        except TimeoutError:
            raise ReadingFailed(f"took longer than {self._frame_seconds:g} s to read") from None
        except asyncio.IncompleteReadError:
            raise ReadingFailed("broke the process that read it") from None

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        _end(process)
        await process.wait()


def _environment() -> dict[str, str]:
    """The child's environment, without the server's secrets: the child parses untrusted documents."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"PYTHONPATH": _CODE, "PYTHONUTF8": "1"}


def _end(process: asyncio.subprocess.Process) -> None:
    """Close the child's input, so that it exits."""
    if process.stdin is not None:
        process.stdin.close()


def _is_ending(process: asyncio.subprocess.Process) -> bool:
    return process.stdin is None or process.stdin.is_closing()
