"""A response without a stream: at the end of its turn, at calls that the caller makes, or at once in the background."""

from __future__ import annotations

import orjson
from starlette.types import Receive, Scope, Send

from app.compat.openai.calls import Continuation, calls_asked
from app.compat.openai.collected import Collected, collect
from app.compat.openai.response_object import response_of
from app.compat.openai.waiting import wait_for_end
from app.conversation.conversation import Following
from app.domain.turn import Turn, TurnState
from app.doors.answers import Answer
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn


class ResponseAnswer:
    """ASGI application: begins the turn or goes on with it, waits, and answers."""

    def __init__(
        self, runtime: Runtime, following: Following, previous: str | None, continuation: Continuation | None
    ) -> None:
        self._runtime = runtime
        self._following = following
        self._previous = previous
        self._continuation = continuation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        following = self._following
        if following.sending.background:  # no reader: the client does not wait
            turn = await following.start()
        else:
            with following:
                turn = await following.start()
                await self._wait(turn, receive)
        since = self._continuation.since if self._continuation is not None else 0
        shown = await response_of(self._runtime, following.session_log, turn, previous=self._previous, since=since)
        response = Answer(orjson.dumps(shown))
        response.headers["X-Session-Id"] = response.headers["X-Hector-Session"] = following.session_id
        await response(scope, receive, send)

    async def _wait(self, turn: OpenTurn | Turn, receive: Receive) -> None:
        """Until the turn is over, or wants something of its caller."""
        following, continuation = self._following, self._continuation
        if following.sending.client_tools or continuation is not None:
            collected = Collected(lambda: calls_asked(self._runtime, following.session_log, turn, None))
            await collect(following, turn, collected, receive, continuation.give if continuation is not None else None)
            if collected.calls is not None:
                return
        outcome = await wait_for_end(following, turn, receive)
        if outcome.state is not TurnState.COMPLETED and not outcome.text:
            outcome.raise_for_end(following.session_id)
