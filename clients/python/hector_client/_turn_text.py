"""The texts of a turn's assistant messages. Between two of them stands a call, or a steered message."""

from __future__ import annotations

BETWEEN_MESSAGES = frozenset({"tool_call", "message_steered"})
"""Text after such a frame belongs to another message than text before it. Not so the outcomes of calls: after a crash
they may come behind the snapshot that takes back the message which is said next."""


class TurnText:
    """One text for each message, in order. A snapshot replaces the text of its message and leaves the others."""

    def __init__(self) -> None:
        self._ids: list[str | None] = []
        """Known from snapshots only: text carries no id."""
        self._texts: list[str] = []
        self._is_open = False
        """Whether the next text continues the last message."""

    @property
    def whole(self) -> str:
        return self._texts[0] if len(self._texts) == 1 else "".join(self._texts)

    @property
    def messages(self) -> list[str]:
        return [text for text in self._texts if text]

    def add(self, chunk: str) -> None:
        if not self._is_open:
            self._begin(None)
        self._texts[-1] += chunk

    def end_message(self) -> None:
        self._is_open = False

    def replace(self, message_id: str | None, text: str) -> None:
        if message_id is not None and message_id in self._ids:
            self._texts[self._ids.index(message_id)] = text
            return
        if not self._is_open or (message_id is not None and self._ids[-1] is not None):
            self._begin(message_id)
        self._ids[-1], self._texts[-1] = message_id, text

    def missing(self, stored: list[tuple[str | None, str]]) -> list[tuple[str | None, str]]:
        """Which of the stored messages (id, text) have to be given to `replace` so that all of them are here."""
        before = "".join(self._texts[:-1]) if self._is_open else self.whole
        last = self._texts[-1] if self._is_open else ""
        told, at, first = "", None, 0
        for place, (_, text) in enumerate(stored):
            if told == before and (at is None or text.startswith(last)):
                at = place
            told += text
        if told == self.whole:
            return []
        if at is None:  # what was told is not what is stored
            self._ids, self._texts, self._is_open = [], [], False
        else:
            first = at
        return stored[first:]

    def _begin(self, message_id: str | None) -> None:
        self._ids.append(message_id)
        self._texts.append("")
        self._is_open = True
