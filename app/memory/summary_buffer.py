"""Working memory by size (`summary_buffer`): the newest messages that fit, and a summary of those before them.

What is summed up when, and how it is asked for; who asks, and keeps the answer, is the turn room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.memory.working import Entry, entry

SUMMARY_SHARE = 5
"""A summary takes at most a fifth of the budget: what it costs is paid in every request."""
LEAST_SUMMARY = 16
"""Tokens of words below which a summary is not worth its call."""
PORTION_SHARE = 2
"""Messages of half the budget are summed up in one go: with the old summary and its own words the request fits."""
LEAST_PORTION = 64
"""Tokens of a portion, however small the budget."""
_MARK = " […] "


class SummaryBuffer:
    """History and summary together never cost more than `budget` tokens, but for the newest message alone.

    Tokens are counted by `count_tokens` of the agent's model: exactly where that knows the model's encoding.
    Above `threshold` of the budget the oldest messages are to be summed up, so that `target` of it is left.
    """

    def __init__(
        self,
        budget: int,
        count_tokens: Callable[[str], int],
        *,
        threshold: float = 0.8,
        target: float = 0.6,
        sums_up: bool = True,
    ) -> None:
        self.budget = budget
        self.threshold = int(budget * threshold)
        self.target = min(int(budget * target), self.threshold)
        self.longest = max(budget // SUMMARY_SHARE, 1)
        """Tokens of a summary, at most."""
        self._count = count_tokens
        self.portion_tokens = max(budget // PORTION_SHARE, LEAST_PORTION)
        self._sums_up: bool | None = None if sums_up else False

    @property
    def sums_up(self) -> bool:
        """Whether there is a model for it, and room for a summary that says something; else a window of the newest."""
        if self._sums_up is None:
            self._sums_up = self._count(block("")) + LEAST_SUMMARY <= self.longest
        return self._sums_up

    # -- choosing -----------------------------------------------------------------------------------------------

    def select(self, history: Sequence[Entry], *, taken: int = 0) -> Sequence[Entry]:
        """The newest messages that fit beside `taken` tokens, and always the newest one."""
        if self.fits(history, self.budget - taken):
            return history
        return history[self._newest(history, self.budget - taken) :]

    def renew(self, history: Sequence[Entry]) -> Sequence[Entry]:
        """The newest messages that meet `target`, for want of a summary.

        Not all that would fit: the next turns then begin with the same messages, which the model has read already.
        """
        return history[self._newest(history, self.target) :]

    def wants_more(self, history: Sequence[Entry]) -> bool:
        """A little further back than a request reaches: what no longer fits is still to be summed up."""
        return self.fits(history, 2 * self.budget - 1)

    def fits(self, history: Sequence[Entry], room: int) -> bool:
        """Whether they cost no more than `room` tokens."""
        # Counting is the dearest part of a prompt: not done while even the bound fits.
        return sum([message.at_most() for message in history]) <= room or self.total(history) <= room

    def total(self, history: Sequence[Entry]) -> int:
        return sum([message.count(self._count) for message in history])

    def cut(self, history: Sequence[Entry]) -> int:
        """How many of the oldest messages to sum up to meet `target`; never the last user's, or what is behind it."""
        if not history:
            return 0
        start = self._newest(history, self.target - self.longest)
        last = max([place for place, message in enumerate(history) if message.is_users], default=len(history) - 1)
        return min(start, last)

    def _newest(self, history: Sequence[Entry], room: int) -> int:
        """The place from which on they fit into `room` tokens; that of the last at the latest."""
        if not history:
            return 0
        start = len(history) - 1
        room -= history[start].count(self._count)
        while start and (tokens := history[start - 1].count(self._count)) <= room:
            room -= tokens
            start -= 1
        return start

    # -- summing up ---------------------------------------------------------------------------------------------

    def portion(self, messages: Sequence[Entry]) -> int:
        """How many of them, from the oldest on, are summed up in one go."""
        room, count = self.portion_tokens, 0
        for message in messages:
            room -= message.count(self._count)
            if room < 0:
                break
            count += 1
        return max(count, 1)

    def request(self, old: str, messages: Sequence[Entry]) -> list[bytes]:
        """The messages of a request that sums up `old` and what was said after it."""
        lines = [f"{'User' if message.is_users else 'Assistant'}: {message.text().strip()}" for message in messages]
        said = self.shortened("\n".join(lines), self.portion_tokens)
        before = f"Summary so far:\n{old}\n\n" if old else ""
        asked = f"{before}Said since then:\n{said}\n\nThe new summary of all of it:"
        return [entry("system", self._instructions()).encoded, entry("user", asked).encoded]

    def _instructions(self) -> str:
        return (
            "You condense conversations. Keep what is needed to go on: facts, names, numbers, wishes, decisions, open "
            f"questions. Plain sentences, at most {max(self.longest // 2, 5)} words, no introduction."
        )

    def shortened(self, text: str, most: int) -> str:
        """The beginning and the end of a text that is longer than `most` tokens."""
        tokens = self._count(text)
        if tokens <= most:
            return text
        kept = int(len(text) * most / tokens)
        while True:
            head = text[: kept * 2 // 3].rstrip()
            tail = text[len(text) - kept // 3 :].lstrip() if kept >= 3 else ""
            short = head + _MARK + tail
            if kept < 8 or self._count(short) <= most:
                return short
            kept = kept * 9 // 10

    def fitted(self, text: str) -> tuple[str, int]:
        """A summary that takes at most `longest` tokens in a request, and how many it takes."""
        text = text.strip()
        tokens = self._count(block(text))
        while tokens > self.longest and len(text) > 1:
            kept = min(int(len(text) * self.longest / tokens), len(text) * 19 // 20)
            text = _whole_sentences(text[: max(kept, 1)])
            tokens = self._count(block(text))
        return text, tokens


def block(summary: str) -> str:
    """A summary as the model gets it, below its system prompt."""
    return f"<summary>\nEarlier in this conversation, condensed:\n{summary}\n</summary>"


def _whole_sentences(text: str) -> str:
    """Cut back to the last end of a sentence, if that is not far; else of a word."""
    end = max(text.rfind(mark) for mark in (". ", "! ", "? ", ".\n"))
    if end > len(text) * 2 // 3:
        return text[: end + 1]
    space = text.rfind(" ")
    return text[:space] if space > len(text) * 2 // 3 else text
