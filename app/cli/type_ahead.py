"""Lines that are typed while an answer is written: those that steer it are sent at once, the others come afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
from collections.abc import Callable, Iterator

STEER = "/steer "


class TypeAhead:
    """Reads a terminal whose driver gives whole lines. `lines`: what was typed and not sent, in order."""

    def __init__(self, file: int, steer: Callable[[str], None]) -> None:
        self.lines: list[str] = []
        self._file = file
        self._steer = steer
        self._rest = b""

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._file, self._read)

    def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._file)

    def _read(self) -> None:
        try:
            received = os.read(self._file, 4096)
        except OSError:  # the terminal is gone; the next prompt finds that out
            self.stop()
            return
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in [line.decode("utf-8", errors="replace").strip() for line in lines]:
            if line.startswith(STEER):
                self._steer(line.removeprefix(STEER).strip())
            elif line:
                self.lines.append(line)


@contextlib.contextmanager
def no_echo(is_terminal: bool) -> Iterator[None]:
    """Do not echo what is typed during an answer: it appears at the next prompt, not in the middle of the text."""
    if not is_terminal:
        yield
        return
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    quiet = list(before)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(file, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
