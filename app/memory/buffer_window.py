"""Working memory by number of messages (`buffer_window`)."""

from __future__ import annotations

from collections.abc import Sequence

from app.memory.working import Entry


class BufferWindow:
    """Selects the newest `window_size` messages."""

    def __init__(self, window_size: int) -> None:
        self._size = window_size

    def select(self, history: Sequence[Entry]) -> Sequence[Entry]:
        return history[-self._size :]

    def wants_more(self, history: Sequence[Entry]) -> bool:
        return len(history) < self._size
