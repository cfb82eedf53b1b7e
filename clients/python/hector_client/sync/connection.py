"""The open response of a stream, which another thread can close. Written by hand, unlike its neighbours."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx2


class Connection:
    """The open response of a stream. `close`, from another thread, ends the stream with what it receives next: the
    latest is the next heartbeat, for a thread that waits at a socket cannot be woken by closing it.
    """

    def __init__(self) -> None:
        self._response: httpx2.Response | None = None
        self._bytes: Iterator[bytes] | None = None
        self._closing = threading.Event()

    @property
    def is_closed(self) -> bool:
        return self._closing.is_set()

    def hold(self, response: httpx2.Response) -> None:
        self._response, self._bytes = response, response.iter_bytes()

    def read(self) -> bytes | None:
        received = next(self._bytes, None) if self._bytes is not None else None
        if received is None:
            self.release()
        return received

    def pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def release(self) -> None:
        response, self._response, self._bytes = self._response, None, None
        if response is not None:
            response.close()

    def close(self) -> None:
        self._closing.set()
