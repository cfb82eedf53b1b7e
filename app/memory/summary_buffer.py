"""Working memory by size (`summary_buffer`): the newest messages that fit, and a summary of older ones.

Decides what is summarized when, and words the request; `app/turns` sends the request and stores the summary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_not

from app.memory.clearing import clear
from app.memory.steps import border, has_steps, in_words
from app.memory.working import Entry, entry

SUMMARY_SHARE = 5
"""A summary takes at most a fifth of the budget, because every request pays for it."""
LONGEST_SUMMARY = 2_000
"""Tokens of a summary at most, however large the budget: more is no summary."""
LEAST_SUMMARY = 16
"""Tokens of text below which a summary is not worth a call."""
PORTION_SHARE = 2
"""One call summarizes messages of half the budget: with the old summary and the instructions the request still fits."""
LONGEST_PORTION = 6_000
"""Tokens that one call summarizes at most: from more a model drops facts, and it takes longer than we wait."""
LEAST_PORTION = 64
"""Tokens of a portion at least, however small the budget."""
_MOST_CHARACTERS = 16
"""Of a token, but for runs of white space: what is longer need not be counted to be too long."""
PART = "(continued) "
"""Before the further parts of a message that is too long for one portion."""


@dataclass(frozen=True, slots=True)
class Portion:
    """What one call summarizes: `text`, with which messages up to number `upto` are summarized whole (0: none yet)."""

    text: str
    upto: int


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
        self._threshold = threshold
        self._target = target
        self._count = count_tokens
        self._has_model = sums_up
        self.resize(budget)

    def resize(self, budget: int) -> None:
        """Keep history and summary within `budget` tokens from now on."""
        self.budget = budget
        self.threshold = int(budget * self._threshold)
        self.target = min(int(budget * self._target), self.threshold)
        self.longest = min(max(budget // SUMMARY_SHARE, 1), LONGEST_SUMMARY)
        """Tokens of a summary at most."""
        self.portion_tokens = min(max(budget // PORTION_SHARE, LEAST_PORTION), LONGEST_PORTION)
        self._sums_up: bool | None = None if self._has_model else False

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

    def clear(self, history: Sequence[Entry], *, taken: int = 0) -> Sequence[Entry]:
        """The history with old results of tools removed, from the oldest on until it is within `target` beside `taken`.

        `history` itself if there is none to remove. Much at once, so that the next requests begin alike.
        """
        if not has_steps(history):
            return history
        cleared = clear(history, room=self.target - taken, count_tokens=self._count)
        return cleared if any(map(is_not, cleared, history)) else history

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
        """How many of the oldest messages to summarize to reach `target`; never the last user message or later ones.

        What is left begins with a message of the user: an answer without its question says little.
        """
        if not history:
            return 0
        start = self._newest(history, self.target - self.longest)
        last = max([place for place, message in enumerate(history) if message.is_users], default=len(history) - 1)
        while start < last and not history[start].is_users:
            start += 1
        return border(history, min(start, last))

    def _newest(self, history: Sequence[Entry], room: int) -> int:
        """The index from which on the messages fit into `room` tokens; at most that of the last one, or last step."""
        if not history:
            return 0
        start = len(history) - 1
        room -= history[start].count(self._count)
        while start and (tokens := history[start - 1].count(self._count)) <= room:
            room -= tokens
            start -= 1
        return border(history, start)

    # -- summarizing --------------------------------------------------------------------------------------------

    def portions(self, messages: Sequence[Entry], *, most: int | None = None) -> Iterator[Portion]:
        """The messages as text for the calls that summarize them, oldest first; together all of the text.

        `most`: tokens of a portion, if that is less than usual. A message that is longer is cut at white space.
        """
        most = max(min(most or self.portion_tokens, self.portion_tokens), LEAST_PORTION)
        lines: list[str] = []
        room, upto = most, 0
        for message in in_words(messages):
            if (tokens := message.count(self._count)) > room and lines:
                yield Portion("\n".join(lines), upto)
                lines, room = [], most
            speaker = "User: " if message.is_users else "Assistant: "
            text = message.text().strip()
            if tokens <= room:
                lines.append(speaker + text)
                room, upto = room - tokens, message.seq
                continue
            *pieces, last = [*self._pieces(text, most)] or [""]
            for place, piece in enumerate(pieces):
                yield Portion(speaker + (PART if place else "") + piece, upto)
            lines, room, upto = [speaker + PART + last], most - self._count(last), message.seq
        if lines:
            yield Portion("\n".join(lines), upto)

    def _pieces(self, text: str, most: int) -> Iterator[str]:
        """A text in pieces of at most `most` tokens, cut at white space where there is some."""
        start = 0
        while start < len(text):
            end = self._end_of_piece(text, start, most)
            yield text[start:end]
            start = end

    def _end_of_piece(self, text: str, start: int, most: int) -> int:
        length = min(len(text) - start, most * _MOST_CHARACTERS)
        while length > 1 and (tokens := self._count(text[start : start + length])) > most:
            length = max(min(int(length * most / tokens), length * 9 // 10), 1)
        end = start + length
        if end == len(text):
            return end
        space = max(text.rfind("\n", start, end), text.rfind(" ", start, end))
        return space + 1 if space - start > length * 2 // 3 else end

    def request(self, old: str, said: str) -> list[Entry]:
        """The request that extends the summary `old` by what was said after it."""
        before = f"Summary so far:\n{old}\n\n" if old else ""
        asked = f"{before}Said since then:\n{said}\n\nThe new summary of all of it:"
        return [entry("system", self._instructions()), entry("user", asked)]

    def _instructions(self) -> str:
        return (
            "You condense conversations. Keep what is needed to go on: facts, names, numbers, wishes, decisions, open "
            f"questions. Plain sentences, at most {max(self.longest // 2, 5)} words, no introduction."
        )

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
