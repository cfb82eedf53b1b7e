"""A program in a terminal of its own, typed at and looked at."""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path

from tests.cli.command import environment
from tests.cli.emulator import Emulator

SECONDS = 20


class Terminal:
    """`async with Terminal(folder, "chat", "assistant") as terminal`; killed at the end if it still runs."""

    def __init__(self, folder: Path, *arguments: str, server: str, width: int = 60, height: int = 20) -> None:
        self.screen = Emulator(width, height)
        self._folder = folder
        self._arguments = arguments
        self._server = server
        self._changed = asyncio.Event()
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._is_over = False

    async def __aenter__(self) -> Terminal:
        self._file, inner = pty.openpty()
        size = struct.pack("HHHH", self.screen.height, self.screen.width, 0, 0)
        fcntl.ioctl(inner, termios.TIOCSWINSZ, size)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app",
            *self._arguments,
            cwd=self._folder,
            env=environment(
                self._folder,
                {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "HECTOR_SERVER": self._server},
            ),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )
        os.close(inner)
        os.set_blocking(self._file, False)
        asyncio.get_running_loop().add_reader(self._file, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._file)
        os.close(self._file)

    @property
    def text(self) -> str:
        return self.screen.text

    def type(self, keys: str) -> None:
        os.write(self._file, keys.encode())

    async def say(self, line: str) -> None:
        """A line, once the prompt is there for it."""
        await self.prompt()
        self.type(line + "\r")

    async def prompt(self) -> None:
        await self.until(lambda text: text.endswith("\n>"))

    async def shows(self, words: str) -> None:
        await self.until(lambda text: words in text)

    async def until(self, is_so: Callable[[str], bool]) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while not is_so(self.text):
                    assert not self._is_over, f"the program is over:\n{self.text}"
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"never came; the screen:\n{self.text}") from None

    async def ended(self) -> int:
        async with asyncio.timeout(SECONDS):
            return await self._process.wait()

    def _read(self) -> None:
        try:
            received = os.read(self._file, 65536)
        except BlockingIOError:
            return
        except OSError:  # the other side is closed
            received = b""
        if not received:
            self._is_over = True
            asyncio.get_running_loop().remove_reader(self._file)
        self.screen.feed(self._decode(received))
        self._changed.set()
