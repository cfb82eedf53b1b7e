"""What every event has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`chunk` is what to show, often empty. `cursor` is where to come back to: `41`, or `41:12` inside event 41."""

    type: str = ""
    chunk: str = ""
    cursor: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The whole object as it came."""

    @property
    def delta(self) -> str:
        """The piece that the event adds to the answer; empty for all but `Text`."""
        return ""

    @property
    def is_complete(self) -> bool:
        """Whether the turn is over with this event: that of `TurnFinished` alone, whatever its `status`."""
        return False

    @property
    def error(self) -> str | None:
        """Why the turn failed, as a sentence; `None` for all but `Error`."""
        return None

    @property
    def seq(self) -> int | None:
        """The event's number in its session; `None` where it has none."""
        number = (self.cursor or "").partition(":")[0]
        return int(number) if number.isdigit() else None
