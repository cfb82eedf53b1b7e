"""Sending over HTTP: a POST becomes a `Sending`, for waiting, background and streaming callers alike."""

from __future__ import annotations

from enum import Enum

from starlette.requests import Request
from starlette.types import Receive, Scope

from app.conversation.conversation import Following, Sending
from app.domain.errors import InvalidRequest, overloaded
from app.doors.json_route import parse, read_body, read_json, take_user
from app.doors.response_format import read_format
from app.doors.schemas.messages import Regenerate, SendMessage
from app.events.log import SessionLog
from app.runtime import Runtime

TRUE = frozenset({"1", "true", "yes", "on"})


class Door(Enum):
    """What a POST asks for."""

    MESSAGE = "message"
    ONE_SHOT = "one_shot"
    REGENERATE = "regenerate"


async def accept(
    runtime: Runtime, scope: Scope, receive: Receive, door: Door, *, given: bytes | None = None
) -> Following:
    """Who asks, which session, what body (`given` if it was read already).

    Raises: anything of the error table; nothing was stored.
    """
    if not await runtime.lag.may_begin():
        raise overloaded("The server has more to do than it can do in time (server.max_lag)")
    request = Request(scope)
    agent: str = scope["path_params"]["agent"]
    conversation = runtime.conversation
    runtime.roster.get(agent, scope["principal"])
    if given is None:
        given = await read_body(scope, receive, runtime.config.server.max_body)
    refusal: InvalidRequest | None = None
    if b'"user_id"' in given:
        try:
            take_user(scope, read_json(given))
        except InvalidRequest as error:
            refusal = error  # an unknown session is 404, whatever was sent to it
    principal = scope["principal"]
    key = request.headers.get("idempotency-key")
    session_log: SessionLog | None = None
    if door is not Door.ONE_SHOT:
        session_id: str = scope["path_params"]["session_id"]
        session_log = await conversation.session(principal, agent, session_id, has_key=key is not None)
    if refusal is not None:
        raise refusal
    body: SendMessage | Regenerate
    body = parse(given, Regenerate) if door is Door.REGENERATE else parse(given, SendMessage)
    has_query = scope["query_string"] != b""
    sending = Sending(
        text=body.message if isinstance(body, SendMessage) else None,
        instructions=body.instructions,
        message_id=None if isinstance(body, SendMessage) else body.message_id,
        background=body.background,
        on_busy=body.on_busy if isinstance(body, SendMessage) else None,
        key=key,
        resume=request.headers.get("last-event-id"),
        debug=has_query and flag(request, "debug"),
        text_only=has_query and wants_text(request),
        top_only=has_query and request.query_params.get("depth") == "0",
        response_format=read_format(body.response_format, runtime.config.server.max_metadata),
    )
    return await conversation.send(principal, agent, session_log, sending)


def flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in TRUE


def wants_text(request: Request) -> bool:
    """`?frames=text`. Raises InvalidRequest for another word."""
    frames = request.query_params.get("frames")
    if frames not in (None, "text", "all"):
        raise InvalidRequest("frames must be text or all.")
    return frames == "text"
