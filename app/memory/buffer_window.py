"""Working memory by number (`buffer_window`) and by size (what stands in for `summary_buffer`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.memory.working import Entry


class BufferWindow:
    """The newest `window_size` messages."""

    def __init__(self, window_size: int) -> None:
        self._size = window_size

    def select(self, history: Sequence[Entry]) -> Sequence[Entry]:
        return history[-self._size :]

    def wants_more(self, history: Sequence[Entry]) -> bool:
        return len(history) < self._size


class TokenWindow:
    """The newest messages that fit `budget` tokens, and always the newest one."""

    def __init__(self, budget: int, count_tokens: Callable[[str], int]) -> None:
        self._budget = budget
        self._count = count_tokens

    def select(self, history: Sequence[Entry]) -> Sequence[Entry]:
        # Counting is the dearest part of a prompt: not done while even the bound fits.
        if sum([message.at_most() for message in history]) <= self._budget:
            return history
        room = self._budget - history[-1].count(self._count)
        start = len(history) - 1
        while start and (tokens := history[start - 1].count(self._count)) <= room:
            room -= tokens
            start -= 1
        return history[start:]

    def wants_more(self, history: Sequence[Entry]) -> bool:
        return sum([message.count(self._count) for message in history]) < self._budget
