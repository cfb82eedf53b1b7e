"""What a command writes, made into text: shown while it runs, in lines and within bounds."""

from __future__ import annotations

import asyncio
import codecs
import re
import time
from collections.abc import Callable

from app.observability.neutral import clean

FLUSH_SECONDS = 0.05
_PARTIAL_SECONDS = 0.5
"""After so long an unfinished line is shown: a question, or dots that mean progress."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


def readable(output: bytes) -> str:
    """Output as text: no colours, of lines that were written over only what a terminal would show last."""
    return _readable(output.decode(errors="replace"))


def _readable(text: str) -> str:
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return clean(text)


class LiveOutput:
    """Shows output as it comes: whole lines, at most every `FLUSH_SECONDS`, up to `max_shown` characters.

    The first text begins with `Output: `, and the last ends with a line break. Belongs to one event loop.
    """

    def __init__(self, show: Callable[[str], None], *, max_shown: int) -> None:
        self._show = show
        self._left = max_shown
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.is_shown = False
        self._ends_line = True

    def feed(self, output: bytes) -> None:
        if self._left <= 0:
            return
        if not self._text:
            self._since = time.monotonic()
        self._text += self._decoder.decode(output)
        self._schedule()

    def close(self) -> None:
        """Show what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._emit(self._text + self._decoder.decode(b"", final=True))
        if self.is_shown and not self._ends_line:
            self._show("\n")

    def _schedule(self) -> None:
        if self._timer is None and self._text:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._timer = None
        lines, line_break, rest = self._text.rpartition("\n")
        if time.monotonic() - self._since > _PARTIAL_SECONDS:
            lines, line_break, rest = self._text, "", ""
        if lines or line_break:
            self._text, self._since = rest, time.monotonic()
            self._emit(lines + line_break)
        self._schedule()

    def _emit(self, written: str) -> None:
        text = _readable(written)
        if not text or self._left <= 0:
            return
        self._left -= len(text)
        if self._left < 0:
            text = text[: self._left] + "\n… (more output is not shown while the command runs)\n"
        self._show(text if self.is_shown else f"Output: {text}")
        self.is_shown = True
        self._ends_line = text.endswith("\n")
