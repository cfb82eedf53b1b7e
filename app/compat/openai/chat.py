"""`/chat/completions`: one turn; in a session in memory, or in the one that the request is bound to."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from app.agents import Agent
from app.compat.openai import binding
from app.compat.openai.calls import (
    Continuation,
    calls_asked,
    find_continuation,
    read_tools,
    session_of,
    trailing_results,
)
from app.compat.openai.chat_answer import ChatCompletionAnswer, head_of
from app.compat.openai.chat_chunks import ChatChunks
from app.compat.openai.errors import invalid, model_not_found
from app.compat.openai.relay import TurnStream
from app.compat.openai.texts import read_messages
from app.conversation.conversation import Following, Sending
from app.domain.errors import overloaded
from app.domain.principal import Principal
from app.domain.turn import Turn
from app.doors.json_route import check_items, parse, read_body
from app.doors.passed_on import passed_on
from app.doors.response_format import read_format
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn


class ChatCompletion(BaseModel):
    """The fields that mean something here; others are ignored."""

    model: str
    messages: list[Any]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    response_format: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None


async def complete(runtime: Runtime, request: Request) -> ASGIApp:
    """Raises: anything of the error table; nothing was stored."""
    if not await runtime.lag.may_begin():
        raise overloaded("The server has more to do than it can do in time (server.max_lag)")
    server = runtime.config.server
    principal = request.scope["principal"]
    raw = await read_body(request.scope, request.receive, server.max_body)
    body = parse(raw, ChatCompletion)
    agent = agent_of(runtime, body.model, principal)
    if body.n not in (None, 1):
        raise invalid("n", "an agent gives one answer; leave n out, or send 1")
    check_items(len(body.messages), server)
    sending = Sending(
        "",
        response_format=read_format(body.response_format, server.max_metadata),
        key=request.headers.get("idempotency-key"),
        client_tools=read_tools(body.tools, body.tool_choice, runtime.config.compat.openai),
    )
    if results := trailing_results(body.messages):
        if (elsewhere := passed_on(request.scope, session_of(results), raw)) is not None:
            return elsewhere
        continuation = await find_continuation(runtime, principal, agent.name, results, sending)
        return _answer(runtime, body, continuation.following, continuation)
    return _answer(runtime, body, await _follow(runtime, request, agent, body, sending), None)


def agent_of(runtime: Runtime, model: str, caller: Principal) -> Agent:
    """Raises NotFound: there is none, or none that the caller may use."""
    agent = runtime.roster.find(model)
    if agent is None or not agent.is_for(caller):
        raise model_not_found(model)
    return agent


async def _follow(
    runtime: Runtime, request: Request, agent: Agent, body: ChatCompletion, sending: Sending
) -> Following:
    said = read_messages(body.messages)
    sending = said.added_to(sending)
    principal, conversation = request.scope["principal"], runtime.conversation
    session_id = binding.session_id_of(request.headers.get("x-hector-session"), body.metadata)
    if session_id is None:
        return await conversation.send(principal, agent.name, None, sending)
    session_log, sending = await binding.bind(runtime, principal, agent, session_id, sending)
    return await conversation.send(principal, agent.name, session_log, sending)


def _answer(runtime: Runtime, body: ChatCompletion, following: Following, continuation: Continuation | None) -> ASGIApp:
    if not body.stream:
        return ChatCompletionAnswer(runtime, following, body.model, continuation)
    with_usage = bool((body.stream_options or {}).get("include_usage"))
    used = continuation.used if continuation is not None else None

    def chunks(turn: OpenTurn | Turn) -> ChatChunks:
        async def asked() -> Any:
            return await calls_asked(runtime, following.session_log, turn, used)

        return ChatChunks(
            head_of(turn, body.model),
            following.session_id,
            with_usage=with_usage,
            asked=asked if following.sending.client_tools or continuation is not None else None,
            used=used,
        )

    return TurnStream(following, chunks, begun=continuation.give if continuation is not None else None)
