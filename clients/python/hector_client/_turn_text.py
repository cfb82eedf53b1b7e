"""The texts of a turn's assistant messages. Between two of them stands a call, or a steered message."""

from __future__ import annotations

import io

BETWEEN_MESSAGES = frozenset({"tool_call", "message_steered"})
"""Text after such a frame belongs to another message than text before it. Not so the outcomes of calls: after a crash
they may come behind the snapshot that takes back the message which is said next."""


class TurnText:
    """One text for each message, in order. A snapshot replaces the text of its message and leaves the others.

    Adding a piece takes the time of the piece: a string that grows in a list is copied each time (1 MB in words: 14 s).
    """

    def __init__(self) -> None:
        self._ids: list[str | None] = []
        """Known from snapshots only: text carries no id."""
        self._texts: list[io.StringIO] = []
        self._is_open = False
        """Whether the next text continues the last message."""

    @property
    def whole(self) -> str:
        return "".join(self._all())

    @property
    def messages(self) -> list[str]:
        return [text for text in self._all() if text]

    def add(self, chunk: str) -> None:
        if not self._is_open:
            self._begin(None)
        self._texts[-1].write(chunk)

    def end_message(self) -> None:
        self._is_open = False

    def replace(self, message_id: str | None, text: str) -> None:
        if message_id is not None and message_id in self._ids:
            self._texts[self._ids.index(message_id)] = _text(text)
            return
        if not self._is_open or (message_id is not None and self._ids[-1] is not None):
            self._begin(message_id)
        self._ids[-1], self._texts[-1] = message_id, _text(text)

    def missing(self, stored: list[tuple[str | None, str]]) -> list[tuple[str | None, str]]:
        """Which of the stored messages (id, text) have to be given to `replace` so that all of them are here."""
        texts = self._all()
        before = "".join(texts[:-1] if self._is_open else texts)
        last = texts[-1] if self._is_open else ""
        told, at, first = "", None, 0
        for place, (_, text) in enumerate(stored):
            if told == before and (at is None or text.startswith(last)):
                at = place
            told += text
        if told == "".join(texts):
            return []
        if at is None:  # what was told is not what is stored
            self._ids, self._texts, self._is_open = [], [], False
        else:
            first = at
        return stored[first:]

    def _all(self) -> list[str]:
        return [text.getvalue() for text in self._texts]

    def _begin(self, message_id: str | None) -> None:
        self._ids.append(message_id)
        self._texts.append(io.StringIO())
        self._is_open = True


def _text(text: str) -> io.StringIO:
    """A text that can be continued."""
    begun = io.StringIO()
    begun.write(text)
    return begun
