"""Connections of older protocols among several servers: each is known to the one that opened it, and its id says which.

The SDK keeps a connection in memory and gives it an id. Among several servers the client is told that id with the word
of this one behind it; `routers/elsewhere.py` passes a request with the word of another server on to that one. So a
balancer may send each request anywhere. When the server is gone the answer is 404, and the client begins anew.
"""

from __future__ import annotations

from starlette.types import Message, Scope, Send

HEADER = b"mcp-session-id"


def marked(scope: Scope, send: Send, word: str) -> tuple[Scope, Send]:
    """The request with the SDK's id of its connection, and its answer with the id that the client knows."""
    end = word.encode()

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name, value + end if name.lower() == HEADER else value) for name, value in message["headers"]]
            message = {**message, "headers": headers}
        await send(message)

    headers = [(name, value.removesuffix(end) if name == HEADER else value) for name, value in scope["headers"]]
    return {**scope, "headers": headers}, send_marked
