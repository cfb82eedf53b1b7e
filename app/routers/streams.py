"""The two stream addresses, as plain ASGI: POST follows one turn, GET follows the session.

Not FastAPI routes: on the busiest address its dependency machinery costs up to a twentieth of a turn
(docs/benchmarks.md). The OpenAPI document has them all the same (openapi.py).
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.domain.errors import CursorExpired, InvalidRequest
from app.domain.turn import Turn, TurnState
from app.events.log import SessionLog
from app.routers.frames import EventStream, Readers, view_of
from app.routers.send import Cursor, Door, accept, cursor_of, flag, is_paced, wants_text
from app.runtime import Runtime
from app.turns.desk import OpenTurn


class Streams:
    """Builds the routes; holds what all streams share."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.readers = Readers()

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
        accepted = await accept(self._runtime, scope, receive, door)
        log, agent = accepted.log, accepted.agent
        if accepted.background:
            raise InvalidRequest("background goes with POST …/messages; a stream follows its turn anyway.")
        with accepted.reading as reading:
            turn = await accepted.start()
            view = view_of(
                agent.config,
                debug=accepted.debug,
                text_only=accepted.text_only,
                turn_id=turn.turn_id,
                until_caught_up=isinstance(turn, Turn),
                skip=accepted.cursor[1] if accepted.attached and accepted.cursor else None,
            )
            await EventStream(reading, view, self.readers, lambda: self._phase(log))(scope, receive, send)

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        runtime, request = self._runtime, Request(scope)
        agent = runtime.roster.get(scope["path_params"]["agent"])
        log = await runtime.sessions.get(scope["principal"], agent.name, scope["path_params"]["session_id"])
        query = request.query_params
        until = query.get("until")
        if until not in (None, "turn_end"):
            raise InvalidRequest("until must be turn_end, or be left out.")
        text_only = wants_text(request)
        cursor, from_start = self._where(request, log)
        is_over = log.is_over
        running = next(iter(runtime.history.open_turns(log)), None)
        if cursor is None:
            if is_over or (until is not None and running is None):
                await Response(status_code=204)(scope, receive, send)
                return
            cursor = (_start_of(running) if running is not None else log.visible_seq, None)
        elif cursor[0] >= log.visible_seq and (is_over or (until is not None and running is None)):
            await Response(status_code=204)(scope, receive, send)
            return
        if text_only and not from_start and await runtime.history.has_gap(log, cursor[0]):
            raise CursorExpired("The text after this cursor is no longer kept word for word; use frames=all.")
        view = view_of(
            agent.config,
            debug=flag(request, "debug"),
            text_only=text_only,
            until_turn=running.turn_id if until is not None and running is not None else None,
            until_caught_up=until is not None and running is None,
            skip=cursor[1],
        )
        reading = runtime.read(log, after=cursor[0], from_start=from_start, merge=not is_paced(agent))
        with reading:
            await EventStream(reading, view, self.readers, lambda: self._phase(log))(scope, receive, send)

    def _where(self, request: Request, log: SessionLog) -> tuple[Cursor | None, bool]:
        """The reader's cursor, and whether it asked for all that is kept."""
        after = request.query_params.get("after")
        resumed = cursor_of(request.headers.get("last-event-id"), log)
        if resumed is not None:
            return resumed, False
        if after in ("0", "-1"):
            return (0, None), True
        return cursor_of(after, log), False

    def _phase(self, log: SessionLog) -> dict[str, Any]:
        """What the session is busy with, for the heartbeat."""
        found: dict[str, Any] = {"phase": "idle"}
        turn = next(iter(self._runtime.history.open_turns(log)), None)
        if turn is not None:
            working = "model" if turn.recalling is None or turn.condensing is not None else "recalling"
            found["phase"] = "queued" if turn.state is TurnState.QUEUED else working
            since = log.last_text_clock or turn.started_clock
            if since:
                found["since_token_s"] = round(time.monotonic() - since, 1)
        found["seq"] = log.visible_seq
        return found


def _start_of(turn: OpenTurn) -> int:
    """The number before a running turn's `turn_started` (a queued one's `turn_queued`).

    Not the one before its `turn_queued` if it runs: the end of the answer before it would be replayed, headless.
    """
    return turn.after if turn.state is TurnState.QUEUED else turn.started_seq - 1


class _Endpoint:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, serve: Any) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)
