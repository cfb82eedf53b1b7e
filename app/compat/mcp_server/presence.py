"""Presence: whether the client of a request is still there, for protocols where leaving does not cancel a call."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Receive, Scope

_KEY = "hector.presence"


class Presence:
    """Of one HTTP request. `on_leave` is called at most once, when the connection has closed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._on_leave: Callable[[], None] | None = None
        self.has_left = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.has_left:
            self.has_left = True
            if self._on_leave is not None:
                self._on_leave()
        return message

    def on_leave(self, act: Callable[[], None] | None) -> None:
        """Call `act` when the client leaves, or now if it has left."""
        self._on_leave = act
        if act is not None and self.has_left:
            act()


def watched(scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
    """The request with its presence in the scope."""
    presence = Presence(receive)
    return {**scope, _KEY: presence}, presence.receive


def presence_of(scope: Scope) -> Presence:
    presence: Presence = scope[_KEY]
    return presence
