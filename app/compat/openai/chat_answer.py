"""A chat completion without a stream: the turn is waited for, up to its end or up to calls that the caller makes."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.compat.openai.calls import CallsAsked, Continuation, calls_asked
from app.compat.openai.chat_chunks import BETWEEN
from app.compat.openai.collected import Collected, collect
from app.compat.openai.endings import finish_reason, usage_of
from app.compat.openai.waiting import answers_of, wait_for_end
from app.conversation.conversation import Following
from app.domain.turn import Outcome, Turn
from app.doors.answers import Answer
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn


class ChatCompletionAnswer:
    """ASGI application: begins the turn or goes on with it, waits, and answers."""

    def __init__(self, runtime: Runtime, following: Following, model: str, continuation: Continuation | None) -> None:
        self._runtime = runtime
        self._following = following
        self._model = model
        self._continuation = continuation
        self._used = continuation.used if continuation is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        following, continuation = self._following, self._continuation
        with following:
            turn = await following.start()
            head = head_of(turn, self._model)
            collected: Collected | None = None
            if following.sending.client_tools or continuation is not None:
                collected = Collected(lambda: calls_asked(self._runtime, following.session_log, turn, self._used))
                give = continuation.give if continuation is not None else None
                await collect(following, turn, collected, receive, give)
            if collected is not None and collected.calls is not None:
                response = _completion(head, collected.said(), "tool_calls", collected.calls.usage, collected.calls)
            else:
                outcome = await wait_for_end(following, turn, receive)
                outcome.raise_for_end(following.session_id)
                usage = usage_of(dict(outcome.usage.to_json()) if outcome.usage is not None else None, self._used)
                text = await self._text(turn, outcome, collected)
                response = _completion(head, text, finish_reason(outcome.finish_reason), usage)
        response.headers["X-Session-Id"] = response.headers["X-Hector-Session"] = following.session_id
        await response(scope, receive, send)

    async def _text(self, turn: OpenTurn | Turn, outcome: Outcome, collected: Collected | None) -> str:
        """What was said since the request."""
        if collected is not None and self._continuation is not None:
            return collected.said()
        return BETWEEN.join(await answers_of(self._runtime, self._following.session_log, turn, outcome))


def head_of(turn: OpenTurn | Turn, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{turn.turn_id.partition('_')[2]}", "created": turn.created_ms // 1000, "model": model}


def _completion(
    head: dict[str, Any], text: str, reason: str, usage: dict[str, int], calls: CallsAsked | None = None
) -> Response:
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if calls is not None:
        message |= {"content": text or None, "tool_calls": calls.calls}
    shown = {
        **head,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": usage,
    }
    return Answer(orjson.dumps(shown))
