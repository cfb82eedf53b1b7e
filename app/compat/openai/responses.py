"""`/responses`: a response is a turn: begun, waited for, read on from any of its events, cancelled, deleted."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.compat.openai.calls import Continuation, find_continuation, read_tools, session_of, trailing_outputs
from app.compat.openai.continuing import Continuing
from app.compat.openai.errors import invalid
from app.compat.openai.located import find_response
from app.compat.openai.relay import ReadingStream, TurnStream
from app.compat.openai.response_answer import ResponseAnswer
from app.compat.openai.response_events import ResponseEvents
from app.compat.openai.response_object import response_id, response_of
from app.compat.openai.texts import Said, read_messages
from app.conversation.conversation import Following, Sending
from app.conversation.view import view_of
from app.domain.errors import Conflict, overloaded
from app.domain.turn import Turn
from app.doors.answers import answer
from app.doors.json_route import check_items, parse, read_body
from app.doors.passed_on import passed_on
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
    tools: list[Any] | None = None
    tool_choice: Any = None


async def create(runtime: Runtime, request: Request) -> ASGIApp:
    """Raises: anything of the error table; nothing was stored."""
    if not await runtime.lag.may_begin():
        raise overloaded("The server has more to do than it can do in time (server.max_lag)")
    server = runtime.config.server
    raw = await read_body(request.scope, request.receive, server.max_body)
    body = parse(raw, CreateResponse)
    if body.background and body.store is False:
        raise invalid("background", "needs store: a response in the background must be there to be read")
    principal = request.scope["principal"]
    tools = read_tools(body.tools, body.tool_choice, runtime.config.compat.openai)
    if body.background and tools:
        raise invalid("tools", "a response in the background has no caller that could run them")
    if results := trailing_outputs(body.input):
        if (elsewhere := passed_on(request.scope, session_of(results), raw)) is not None:
            return elsewhere
        continuation = await find_continuation(runtime, principal, body.model, results, Sending("", client_tools=tools))
        return _answer(runtime, body, continuation.following, continuation)
    said = _said(runtime, body)
    instructions = "\n\n".join([text for text in (body.instructions, said.instructions) if text]) or None
    sending = Sending(
        said.text,
        instructions=instructions,
        background=bool(body.background),
        key=request.headers.get("idempotency-key"),
        response_format=read_format((body.text or {}).get("format"), server.max_metadata),
        seeds=said.history,
        client_tools=tools,
    )
    continuing = Continuing(runtime, principal, body.model, body.metadata)
    conversation = _conversation_id(body)
    if body.previous_response_id is not None:
        following = await continuing.after(body.previous_response_id, sending)
    elif conversation is not None:
        following = await continuing.conversation(conversation, sending)
    else:
        following = await continuing.anew(sending, is_stored=body.store is not False)
    return _answer(runtime, body, following, None)


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


def _answer(runtime: Runtime, body: CreateResponse, following: Following, continuation: Continuation | None) -> ASGIApp:
    previous = body.previous_response_id
    if not body.stream:
        return ResponseAnswer(runtime, following, previous, continuation)

    def events(turn: OpenTurn | Turn) -> ResponseEvents:
        return ResponseEvents(
            runtime,
            following.session_log,
            turn,
            previous=previous,
            has_calls=bool(following.sending.client_tools) or continuation is not None,
            since=continuation.since if continuation is not None else 0,
        )

    return TurnStream(following, events, begun=continuation.give if continuation is not None else None)


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
    writer = ResponseEvents(runtime, session_log, turn, after=int(after), has_calls=True)
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
