"""What clients did to one session, and what they were told: the expectations that the server is held to afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.fixtures.sse import Frame


@dataclass(eq=False)
class Reader:
    """One client that sent a message and reads its answer, over all reconnects."""

    message: str
    turn_id: str | None = None
    text: str = ""
    cursor: str | None = None
    ends: list[dict[str, Any]] = field(default_factory=list)
    has_left: bool = False
    """It went away before the end: what it has is the beginning of the answer."""
    is_refused: bool = False
    problems: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    """Numbers and kinds of all frames, with a mark for each connection."""
    _current: str | None = None

    @property
    def is_over(self) -> bool:
        return bool(self.ends) or self.has_left or self.is_refused

    def see(self, frame: Frame) -> None:
        """Show a frame as a front end does: only text of the own turn counts, a snapshot replaces it."""
        self.note(f"{frame.id} {frame.type}")
        if frame.is_done:
            return
        shown, kind = frame.json, frame.type
        if kind == "reconnect":
            self.cursor = str(shown["after"])
            return
        self._note_number(frame)
        if kind in ("turn_started", "turn_queued"):
            if shown["message"] == self.message:
                self.turn_id = self.turn_id or shown["turn_id"]
            if kind == "turn_started" or shown["turn_id"] == self.turn_id:
                self._current = shown["turn_id"] if kind == "turn_started" else None
        elif kind == "snapshot" and shown["turn_id"] == self.turn_id:
            self.text = shown["text"]
        elif kind == "text" and self._current == self.turn_id:
            self.text += frame.chunk
        elif kind == "turn_finished" and shown["turn_id"] == self.turn_id:
            self.ends.append(shown)

    def note(self, word: str) -> None:
        if self.seen[-1:] != [word]:
            self.seen.append(word)

    def _note_number(self, frame: Frame) -> None:
        if frame.id is None:
            self.problems.append(f"a frame without a number: {frame.data[:100]}")
        elif self.cursor is not None and int(frame.id) <= int(self.cursor):
            self.problems.append(f"event {frame.id} after event {self.cursor}")
        self.cursor = frame.id or self.cursor


@dataclass(eq=False)
class Talked:
    """A session, with every message that clients sent to it."""

    session_id: str
    readers: list[Reader] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    """Texts of waiting requests, by turn."""
    accepted: dict[str, str] = field(default_factory=dict)
    """Turns by message, where a client was told that its message is accepted."""
    is_ended: bool = False
    is_dead: bool = False
    """A client was told so: 200 or 410 for a DELETE, or 410 for anything else."""
    is_doubtful: bool = False
    """A DELETE was sent, and what became of it is not known."""

    @property
    def path(self) -> str:
        return f"/agents/assistant/sessions/{self.session_id}"

    @property
    def takes_messages(self) -> bool:
        return not (self.is_ended or self.is_dead or self.is_doubtful)
