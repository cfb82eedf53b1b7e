"""What a thread reports on the way to the loop: bounded, however often it reports."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

MAX_PENDING = 65_536
"""Characters that wait for the loop; what comes beyond is left out of the progress."""


class ProgressRelay:
    """Takes progress in any thread, and gives it on in the loop, pieces that gathered meanwhile as one."""

    def __init__(self, give: Callable[[str, float | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._give = give
        self._lock = threading.Lock()
        self._text = ""
        self._percent: float | None = None
        self._is_due = self._is_closed = False

    def report(self, text: str, percent: float | None) -> None:
        with self._lock:
            if self._is_closed:
                return
            if len(self._text) < MAX_PENDING:
                self._text += text[:MAX_PENDING]
            self._percent = self._percent if percent is None else percent
            was_due, self._is_due = self._is_due, True
        if not was_due:
            try:
                self._loop.call_soon_threadsafe(self.flush)
            except RuntimeError:  # the loop is closed
                pass

    def flush(self) -> None:
        """Give on what waits. In the loop."""
        with self._lock:
            text, percent = self._text, self._percent
            was_due, self._is_due = self._is_due, False
            self._text, self._percent = "", None
        if was_due and not self._is_closed:
            self._give(text, percent)

    def close(self) -> None:
        """Give on what waits, and nothing after it: the call is over, though its thread may go on."""
        self.flush()
        self._is_closed = True
