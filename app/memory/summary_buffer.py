"""Working memory by size (`summary_buffer`): the newest messages that fit, and a summary of older ones.

Decides what is summarized when, and words the request; `app/turns` sends the request and stores the summary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.memory.working import Entry, entry

SUMMARY_SHARE = 5
"""A summary takes at most a fifth of the budget, because every request pays for it."""
LEAST_SUMMARY = 16
"""Tokens of text below which a summary is not worth a call."""
PORTION_SHARE = 2
"""One call summarizes messages of half the budget: with the old summary and the instructions the request still fits."""
LEAST_PORTION = 64
"""Tokens of a portion at least, however small the budget."""
_MARK = " […] "


class SummaryBuffer:
    """Keeps history and summary within `budget` tokens, unless the newest message alone is larger.

    `count_tokens` belongs to the agent's model and is exact where it knows the model's encoding. When more than
    `threshold` of the budget is used, the oldest messages are summarized until `target` of it is left.
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
        """Tokens of a summary at most."""
        self._count = count_tokens
        self.portion_tokens = max(budget // PORTION_SHARE, LEAST_PORTION)
        self._sums_up: bool | None = None if sums_up else False

    @property
    def sums_up(self) -> bool:
        """Whether there is a model for summaries and enough budget; otherwise older messages are only dropped."""
        if self._sums_up is None:
            self._sums_up = self._count(block("")) + LEAST_SUMMARY <= self.longest
        return self._sums_up

    # -- selecting ----------------------------------------------------------------------------------------------

    def select(self, history: Sequence[Entry], *, taken: int = 0) -> Sequence[Entry]:
        """The newest messages that fit into the budget beside `taken` tokens; always includes the newest one."""
        if self.fits(history, self.budget - taken):
            return history
        return history[self._newest(history, self.budget - taken) :]

    def renew(self, history: Sequence[Entry]) -> Sequence[Entry]:
        """The newest messages within `target`, when there is no summary.

        Fewer than would fit, so that the next turns begin with the same messages and hit the model's prompt cache.
        """
        return history[self._newest(history, self.target) :]

    def wants_more(self, history: Sequence[Entry]) -> bool:
        """Whether the history is below twice the budget: messages that no longer fit still have to be summarized."""
        return self.fits(history, 2 * self.budget - 1)

    def fits(self, history: Sequence[Entry], room: int) -> bool:
        """Whether the messages take at most `room` tokens."""
        # Counting is the most expensive part of a prompt: skipped while even the upper bound fits.
        return sum([message.at_most() for message in history]) <= room or self.total(history) <= room

    def total(self, history: Sequence[Entry]) -> int:
        return sum([message.count(self._count) for message in history])

    def cut(self, history: Sequence[Entry]) -> int:
        """How many of the oldest messages to summarize to reach `target`; never the last user message or later ones."""
        if not history:
            return 0
        start = self._newest(history, self.target - self.longest)
        last = max([place for place, message in enumerate(history) if message.is_users], default=len(history) - 1)
        return min(start, last)

    def _newest(self, history: Sequence[Entry], room: int) -> int:
        """The index from which on the messages fit into `room` tokens; at most that of the last one."""
        if not history:
            return 0
        start = len(history) - 1
        room -= history[start].count(self._count)
        while start and (tokens := history[start - 1].count(self._count)) <= room:
            room -= tokens
            start -= 1
        return start

    # -- summarizing --------------------------------------------------------------------------------------------

    def portion(self, messages: Sequence[Entry]) -> int:
        """How many of the oldest messages one call summarizes; at least one."""
        room, count = self.portion_tokens, 0
        for message in messages:
            room -= message.count(self._count)
            if room < 0:
                break
            count += 1
        return max(count, 1)

    def request(self, old: str, messages: Sequence[Entry]) -> list[bytes]:
        """The request that extends the summary `old` by the messages after it."""
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
        """The summary, cut to `longest` tokens in a request, and the tokens it takes."""
        text = text.strip()
        tokens = self._count(block(text))
        while tokens > self.longest and len(text) > 1:
            kept = min(int(len(text) * self.longest / tokens), len(text) * 19 // 20)
            text = _whole_sentences(text[: max(kept, 1)])
            tokens = self._count(block(text))
        return text, tokens


def block(summary: str) -> str:
    """A summary as the model gets it, after the system prompt."""
    return f"<summary>\nEarlier in this conversation, condensed:\n{summary}\n</summary>"


def _whole_sentences(text: str) -> str:
    """Cut back to the end of a sentence, or of a word, if that keeps two thirds of the text."""
    end = max(text.rfind(mark) for mark in (". ", "! ", "? ", ".\n"))
    if end > len(text) * 2 // 3:
        return text[: end + 1]
    space = text.rfind(" ")
    return text[:space] if space > len(text) * 2 // 3 else text
