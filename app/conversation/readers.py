"""Readers: all streams of this process, whatever their door: one timer for heartbeats, one word for the shutdown."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from app.events.follow import Reading

TICK_SECONDS = 1.5
"""How often the longest silence is looked for; a shorter heartbeat is looked for more often."""
_TICKS_PER_HEARTBEAT = 8


class Stream(Protocol):
    """One reader's stream. It wakes up when its reading is notified and looks for itself what there is to do."""

    reading: Reading
    last_sent: float
    """Monotonic time of the last thing it sent."""


class Readers:
    """Knows every open stream."""

    def __init__(self, heartbeat_seconds: float) -> None:
        """`heartbeat_seconds`: a stream that has sent nothing for so long is woken, at most a tick later."""
        self.heartbeat_seconds = heartbeat_seconds
        self._streams: set[Stream] = set()
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: Stream) -> None:
        self._streams.add(stream)
        if self._is_stopping:
            stream.reading.stopping = True

    def discard(self, stream: Stream) -> None:
        self._streams.discard(stream)

    async def run(self) -> None:
        """Wake the streams that have sent nothing for a while; until cancelled."""
        while True:
            await asyncio.sleep(min(TICK_SECONDS, self.heartbeat_seconds / _TICKS_PER_HEARTBEAT))
            silent_since = time.monotonic() - self.heartbeat_seconds
            for stream in self._streams:
                if stream.last_sent < silent_since:
                    stream.reading.notify()
                    stream.reading.rest()

    def stop(self) -> None:
        """Have every reader told to come back later, and its stream closed."""
        self._is_stopping = True
        for stream in self._streams:
            stream.reading.stopping = True
            stream.reading.notify()
