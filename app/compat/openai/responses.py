"""`/responses`: a response is a turn: begun, waited for, read on from any of its events, cancelled, deleted."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.compat.openai.continuing import Continuing
from app.compat.openai.errors import invalid
from app.compat.openai.located import find_response
from app.compat.openai.relay import ReadingStream, TurnStream
from app.compat.openai.response_events import ResponseEvents
from app.compat.openai.response_object import response_id, response_of
from app.compat.openai.texts import Said, read_messages
from app.compat.openai.waiting import wait_for_end
from app.conversation.conversation import Following, Sending
from app.conversation.view import view_of
from app.domain.errors import Conflict, overloaded
from app.domain.turn import Turn, TurnState
from app.doors.answers import Answer, answer
from app.doors.json_route import check_items, parse, read_body
from app.doors.response_format import read_format
from app.events.follow import Reading
from app.events.log import SessionLog
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn

_TRUE = frozenset({"1", "true"})


class CreateResponse(BaseModel):
    """The fields that mean something here; others are ignored."""

    model: str | None = None
    input: str | list[Any]
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    background: bool | None = None
    stream: bool | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = None
    text: dict[str, Any] | None = None


async def create(runtime: Runtime, request: Request) -> ASGIApp:
    """Raises: anything of the error table; nothing was stored."""
    if not await runtime.lag.may_begin():
        raise overloaded("The server has more to do than it can do in time (server.max_lag)")
    server = runtime.config.server
    body = parse(await read_body(request.scope, request.receive, server.max_body), CreateResponse)
    if body.background and body.store is False:
        raise invalid("background", "needs store: a response in the background must be there to be read")
    said = _said(runtime, body)
    instructions = "\n\n".join([text for text in (body.instructions, said.instructions) if text]) or None
    sending = Sending(
        said.text,
        instructions=instructions,
        background=bool(body.background),
        key=request.headers.get("idempotency-key"),
        response_format=read_format((body.text or {}).get("format"), server.max_metadata),
        seeds=said.history,
    )
    continuing = Continuing(runtime, request.scope["principal"], body.model, body.metadata)
    conversation = _conversation_id(body)
    if body.previous_response_id is not None:
        following = await continuing.after(body.previous_response_id, sending)
    elif conversation is not None:
        following = await continuing.conversation(conversation, sending)
    else:
        following = await continuing.anew(sending, is_stored=body.store is not False)
    if body.stream:
        return _stream(runtime, following, body.previous_response_id)
    return _Waiting(runtime, following, body.previous_response_id)


def _said(runtime: Runtime, body: CreateResponse) -> Said:
    if isinstance(body.input, str):
        return Said(None, (), body.input)
    check_items(len(body.input), runtime.config.server)
    return read_messages(body.input, "input")


def _conversation_id(body: CreateResponse) -> str | None:
    given = body.conversation.get("id") if isinstance(body.conversation, dict) else body.conversation
    if body.conversation is not None and not isinstance(given, str):
        raise invalid("conversation", "must be an id, or an object with one")
    if given is not None and body.previous_response_id is not None:
        raise invalid("previous_response_id", "goes without conversation, which says more")
    return given


def _stream(runtime: Runtime, following: Following, previous: str | None) -> TurnStream:
    session_log = following.session_log
    return TurnStream(following, lambda turn: ResponseEvents(runtime, session_log, turn, previous=previous))


class _Waiting:
    """ASGI application: begins the turn, and answers the response: at its end, or at once in the background."""

    def __init__(self, runtime: Runtime, following: Following, previous: str | None) -> None:
        self._runtime = runtime
        self._following = following
        self._previous = previous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        following = self._following
        if following.sending.background:  # no reader: the client does not wait
            turn = await following.start()
        else:
            with following:
                turn = await following.start()
                outcome = await wait_for_end(following, turn, receive)
            if outcome.state is not TurnState.COMPLETED and not outcome.text:
                outcome.raise_for_end(following.session_id)
        shown = await response_of(self._runtime, following.session_log, turn, previous=self._previous)
        response = Answer(orjson.dumps(shown))
        response.headers["X-Session-Id"] = response.headers["X-Hector-Session"] = following.session_id
        await response(scope, receive, send)


async def get(runtime: Runtime, request: Request) -> ASGIApp:
    """The response as it is, or with `stream=true` its events above `starting_after`, and those to come."""
    session_log, turn = await _found(runtime, request)
    query = request.query_params
    if query.get("stream", "").lower() not in _TRUE:
        return answer(await response_of(runtime, session_log, turn))
    after = query.get("starting_after", "-1")
    if not after.removeprefix("-").isdigit() or len(after) > 18:
        raise invalid("starting_after", "must be a sequence_number")
    agent = runtime.roster.get(session_log.session.agent, request.scope["principal"])
    first = turn.after if isinstance(turn, OpenTurn) else turn.first_seq - 1
    reading = runtime.conversation.read(session_log, agent, after=first, merge=False)
    view = view_of(agent.config, turn_id=turn.turn_id, until_caught_up=isinstance(turn, Turn))
    writer = ResponseEvents(runtime, session_log, turn, after=int(after))
    return _Attached(reading, ReadingStream(runtime.conversation, reading, view, writer))


class _Attached:
    """ASGI application: a stream whose reader counts as one while it lasts."""

    def __init__(self, reading: Reading, app: ReadingStream) -> None:
        self._reading = reading
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._reading:
            await self._app(scope, receive, send)


async def cancel(runtime: Runtime, request: Request) -> ASGIApp:
    """Cancel the turn, if it is not over, and answer the response."""
    session_log, turn = await _found(runtime, request)
    await runtime.stopping.cancel(session_log, turn_id=turn.turn_id)
    now = await runtime.history.find(session_log, turn.turn_id)
    return answer(await response_of(runtime, session_log, now))


async def delete(runtime: Runtime, request: Request) -> ASGIApp:
    """Delete the conversation of the response, if it is alone in it. Raises Conflict: it is not."""
    session_log, turn = await _found(runtime, request)
    messages = await runtime.copies.read(session_log)
    open_turns = runtime.history.open_turns(session_log)
    turn_ids = {message.turn_id for message in messages if message.turn_id} | {one.turn_id for one in open_turns}
    if turn_ids - {turn.turn_id}:
        raise Conflict(
            f"The conversation {session_log.session.session_id!r} has other turns; delete it as a whole.",
            reason="conflict",
        )
    await runtime.terminations.terminate(session_log)
    return answer({"id": response_id(turn.turn_id), "object": "response", "deleted": True})


async def list_input(runtime: Runtime, request: Request) -> ASGIApp:
    """The user's message that the response answers."""
    session_log, turn = await _found(runtime, request)
    messages = await runtime.copies.read(session_log)
    text = next((one.content for one in messages if one.message_id == turn.user_message_id), turn.text)
    content = [{"type": "input_text", "text": text}]
    item = {"id": turn.user_message_id, "type": "message", "status": "completed", "role": "user", "content": content}
    ends = {"first_id": item["id"], "last_id": item["id"], "has_more": False}
    return answer({"object": "list", "data": [item], **ends})


async def _found(runtime: Runtime, request: Request) -> tuple[SessionLog, OpenTurn | Turn]:
    return await find_response(runtime, request.scope["principal"], request.path_params["response"])
