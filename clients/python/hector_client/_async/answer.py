"""The answer to one message."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from hector_client._following import follow
from hector_client._operations import JSON
from hector_client._state import AnswerState
from hector_client._steps import Request
from hector_client.events import Event

if TYPE_CHECKING:
    from hector_client._async.client import Client


class Answer(AnswerState):
    """`async for event in answer` follows the turn to its end, through reconnects; `text` grows meanwhile.

    Leaving the loop leaves the turn to the server: it goes on for the agent's `disconnect_grace`.
    """

    def __init__(
        self, client: Client, agent: str, session_id: str | None, post: Request | None, turn_id: str | None
    ) -> None:
        super().__init__(agent, session_id, post, turn_id)
        self._client = client

    async def __aiter__(self) -> AsyncGenerator[Event]:
        """This turn's events; `Offline` and `Online` tell of the connection.

        Raises:
            Refused: the server does not take the message, or the session is gone.
            Unreachable: nothing was heard for longer than the patience, or the connection of a one-shot broke.
        """
        async with aclosing(self._client.driver.stream(follow(self._reader, self._client.patience))) as events:
            async for event in events:
                yield event

    async def wait(self) -> str:
        """Follow the turn to its end and return the whole text. Raises HectorError unless it was completed."""
        if self.finished is None:
            async for _ in self:
                pass
        self.raise_for_end()
        return self.text

    async def cancel(self) -> JSON | None:
        """Stop the turn; its text so far is kept. Raises RuntimeError before the message is accepted."""
        return await self._client.driver.call(self._cancel())

    async def response(self) -> JSON:
        """The API's response to a caller that waits for this message: `response`, `usage`, `timings`, …"""
        return await self._client.driver.call(self._response())
