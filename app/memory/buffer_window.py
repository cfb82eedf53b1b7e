"""Working memory by number of messages (`buffer_window`)."""

from __future__ import annotations

from collections.abc import Sequence

from app.memory.steps import border, has_steps
from app.memory.working import Entry

STEP_MESSAGES = 256
"""Messages of steps beside the window, at most: a window of a few turns may hold hundreds of calls."""


class BufferWindow:
    """Selects the newest `window_size` messages of user and assistant, with the steps between them.

    Calls and results do not count, or a turn of ten calls would push out the conversation; of them there are
    `step_messages` at most, and never a part of a step.
    """

    def __init__(self, window_size: int, *, step_messages: int = STEP_MESSAGES) -> None:
        self._size = window_size
        self._most = window_size + step_messages

    def select(self, history: Sequence[Entry]) -> Sequence[Entry]:
        if not has_steps(history):
            return history[-self._size :]
        start = max(len(history) - self._most, 0)
        texts = [place for place in range(start, len(history)) if not history[place].call_ids]
        if len(texts) >= self._size:
            start = texts[-self._size]
        return history[border(history, start) :]

    def wants_more(self, history: Sequence[Entry]) -> bool:
        if not has_steps(history):
            return len(history) < self._size
        texts = sum([not message.call_ids for message in history])
        return texts < self._size and len(history) < self._most
