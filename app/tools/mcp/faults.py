"""How a request to a server can go wrong."""

from __future__ import annotations

NOT_SENT = -41_001
"""JSON-RPC code of our own: the request did not reach the server, so it may be sent again."""
LOST = -41_002
"""JSON-RPC code of our own: the request was sent, and no answer will come."""


class McpFault(Exception):
    """The message goes on after the server's name: "cannot be reached"."""


class NotSent(McpFault):
    """The request did not reach the server."""


class NotConnected(NotSent):
    """There is no connection that it could be sent over."""


class AnswerLost(McpFault):
    """The request may have been carried out; its answer is lost."""


class Silent(AnswerLost):
    """The server was not heard of for too long."""


class Refused(McpFault):
    """The server answered with an error."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
