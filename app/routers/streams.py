"""The two stream addresses, as plain ASGI: POST follows one turn, GET follows the session.

Not FastAPI routes: on the busiest address its dependency machinery costs up to a twentieth of a turn
(docs/benchmarks.md). The OpenAPI document has them all the same (openapi.py).
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.conversation.view import View
from app.domain.errors import InvalidRequest
from app.doors.answers import Answer
from app.events.follow import Reading
from app.routers.frames import EventStream
from app.routers.send import Door, accept, flag, wants_text
from app.runtime import Runtime


class Streams:
    """Builds the routes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._conversation = runtime.conversation

    def routes(self) -> list[Route]:
        session = "/agents/{agent}/sessions/{session_id}/messages/stream"
        return [
            Route(session, _Endpoint(self._post), methods=["POST"]),
            Route(session, _Endpoint(self._get), methods=["GET"]),
            Route("/agents/{agent}/messages/stream", _Endpoint(self._post_one_shot), methods=["POST"]),
            Route(
                "/agents/{agent}/sessions/{session_id}/regenerate/stream",
                _Endpoint(self._regenerate),
                methods=["POST"],
            ),
        ]

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream_turn(scope, receive, send, Door.MESSAGE)

    async def _post_one_shot(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream_turn(scope, receive, send, Door.ONE_SHOT)

    async def _regenerate(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream_turn(scope, receive, send, Door.REGENERATE)

    async def _stream_turn(self, scope: Scope, receive: Receive, send: Send, door: Door) -> None:
        following = await accept(self._runtime, scope, receive, door)
        if following.sending.background:
            raise InvalidRequest("background goes with POST …/messages; a stream follows its turn anyway.")
        with following:
            # The turn itself is not kept: it would hold the whole answer for as long as a slow reader takes.
            view = following.view(following.running(await following.start()))
            await self._stream(following.reading, view)(scope, receive, send)

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, names = Request(scope), scope["path_params"]
        query = request.query_params
        until = query.get("until")
        if until not in (None, "turn_end"):
            raise InvalidRequest("until must be turn_end, or be left out.")
        attached = await self._conversation.attach(
            scope["principal"],
            names["agent"],
            names["session_id"],
            resume=request.headers.get("last-event-id"),
            after=query.get("after"),
            until_turn_end=until is not None,
            debug=flag(request, "debug"),
            text_only=wants_text(request),
            top_only=query.get("depth") == "0",
        )
        if attached is None:
            await Answer(status_code=204)(scope, receive, send)
            return
        with attached.reading as reading:
            await self._stream(reading, attached.view)(scope, receive, send)

    def _stream(self, reading: Reading, view: View) -> EventStream:
        conversation = self._conversation
        return EventStream(reading, view, conversation.readers, lambda: conversation.phase(reading.log))


class _Endpoint:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, serve: Any) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)
