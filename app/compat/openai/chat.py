"""`/chat/completions`: one turn; in a session in memory, or in the one that the request is bound to."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.agents import Agent
from app.compat.openai import binding
from app.compat.openai.chat_chunks import BETWEEN, ChatChunks
from app.compat.openai.endings import finish_reason, usage_of
from app.compat.openai.errors import invalid, model_not_found
from app.compat.openai.relay import TurnStream
from app.compat.openai.texts import read_messages
from app.compat.openai.waiting import answers_of, wait_for_end
from app.conversation.conversation import Following, Sending
from app.domain.errors import overloaded
from app.domain.principal import Principal
from app.domain.turn import Outcome, Turn
from app.doors.answers import Answer
from app.doors.json_route import check_items, parse, read_body
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


async def complete(runtime: Runtime, request: Request) -> ASGIApp:
    """Raises: anything of the error table; nothing was stored."""
    if not await runtime.lag.may_begin():
        raise overloaded("The server has more to do than it can do in time (server.max_lag)")
    server = runtime.config.server
    body = parse(await read_body(request.scope, request.receive, server.max_body), ChatCompletion)
    agent = agent_of(runtime, body.model, request.scope["principal"])
    if body.n not in (None, 1):
        raise invalid("n", "an agent gives one answer; leave n out, or send 1")
    check_items(len(body.messages), server)
    said = read_messages(body.messages)
    sending = Sending(
        said.text,
        instructions=said.instructions,
        response_format=read_format(body.response_format, server.max_metadata),
        key=request.headers.get("idempotency-key"),
        seeds=said.history,
    )
    following = await _follow(runtime, request, agent, body, sending)
    if not body.stream:
        return _Completion(runtime, following, body.model)
    with_usage = bool((body.stream_options or {}).get("include_usage"))
    return TurnStream(
        following,
        lambda turn: ChatChunks(_head(turn, body.model), following.session_id, with_usage=with_usage),
    )


def agent_of(runtime: Runtime, model: str, caller: Principal) -> Agent:
    """Raises NotFound: there is none, or none that the caller may use."""
    agent = runtime.roster.find(model)
    if agent is None or not agent.is_for(caller):
        raise model_not_found(model)
    return agent


async def _follow(
    runtime: Runtime, request: Request, agent: Agent, body: ChatCompletion, sending: Sending
) -> Following:
    principal, conversation = request.scope["principal"], runtime.conversation
    session_id = binding.session_id_of(request.headers.get("x-hector-session"), body.metadata)
    if session_id is None:
        return await conversation.send(principal, agent.name, None, sending)
    session_log, sending = await binding.bind(runtime, principal, agent, session_id, sending)
    return await conversation.send(principal, agent.name, session_log, sending)


class _Completion:
    """ASGI application: begins the turn, waits for its end, and answers it."""

    def __init__(self, runtime: Runtime, following: Following, model: str) -> None:
        self._runtime = runtime
        self._following = following
        self._model = model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        following = self._following
        with following:
            turn = await following.start()
            outcome = await wait_for_end(following, turn, receive)
        outcome.raise_for_end(following.session_id)
        answers = await answers_of(self._runtime, following.session_log, turn, outcome)
        response = _completion(_head(turn, self._model), BETWEEN.join(answers), outcome)
        response.headers["X-Session-Id"] = response.headers["X-Hector-Session"] = following.session_id
        await response(scope, receive, send)


def _head(turn: OpenTurn | Turn, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{turn.turn_id.partition('_')[2]}", "created": turn.created_ms // 1000, "model": model}


def _completion(head: dict[str, Any], text: str, outcome: Outcome) -> Response:
    message = {"role": "assistant", "content": text, "refusal": None}
    reason = finish_reason(outcome.finish_reason)
    shown = {
        **head,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": usage_of(dict(outcome.usage.to_json()) if outcome.usage is not None else None),
    }
    return Answer(orjson.dumps(shown))
