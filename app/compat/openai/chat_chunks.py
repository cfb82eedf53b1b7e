"""A turn as chunks of a chat completion: role, deltas, the reason of the end, usage, `[DONE]`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.compat.openai.calls import CallsAsked
from app.compat.openai.endings import error_of, failure_of, finish_reason, usage_of
from app.compat.openai.errors import error_object
from app.compat.openai.relay import DONE
from app.domain.errors import HectorError, Unavailable
from app.domain.event import EventKind
from app.domain.turn import Failure, Usage
from app.events.run import Run
from app.llm.base import escape

BETWEEN = "\n\n"
"""Stands between what the agent says before it uses a tool and what it says after."""
_BETWEEN = escape(BETWEEN)


class ChatChunks:
    """Writes the chunks of one turn (see `relay.Writer`)."""

    def __init__(
        self,
        head: dict[str, Any],
        session_id: str,
        *,
        with_usage: bool,
        asked: Callable[[], Awaitable[CallsAsked | None]] | None = None,
        used: Usage | None = None,
    ) -> None:
        """`head`: what all chunks begin with: id, created, model. `asked` gives the calls that wait for the caller,
        where it has tools. `used`: by steps that the caller was told of before.
        """
        self.is_over = False
        self._asked = asked
        self._used = used
        self._session_id = session_id
        self._with_usage = with_usage
        self._head = head = {**head, "object": "chat.completion.chunk"}
        front = b"data: %b" % orjson.dumps(head)[:-1]
        rest = b'"},"logprobs":null,"finish_reason":null}]}\n\n'
        self._before = front + b',"choices":[{"index":0,"delta":{"content":"'
        self._thinks = front + b',"choices":[{"index":0,"delta":{"reasoning_content":"'
        self._after = rest
        self._between = rest + self._before
        self._has_said = False
        self._is_apart = False
        self._failure: Failure | None = None

    def opening(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""}, None)

    def text(self, run: Run) -> bytes:
        if run.kind is not EventKind.TEXT:
            return self._thinks + (self._after + self._thinks).join(run.chunks) + self._after
        begin = self._before
        if self._is_apart:
            begin, self._is_apart = self._before + _BETWEEN + self._between, False
        self._has_said = True
        return begin + self._between.join(run.chunks) + self._after

    async def fact(self, run: Run) -> bytes:
        match run.kind:
            case EventKind.TOOL_CALL:
                self._is_apart = self._has_said
            case EventKind.SNAPSHOT if not self._has_said:
                return self._snapshot(orjson.loads(run.payload)["text"])
            case EventKind.ERROR:
                self._failure = failure_of(orjson.loads(run.payload))
            case EventKind.WAITING if self._asked is not None and (asked := await self._asked()) is not None:
                return self._hand_over(asked)
            case EventKind.TURN_FINISHED:
                return self._end(orjson.loads(run.payload))
        return b""

    def later(self) -> bytes:
        sentence = "The server is shutting down; the turn may still end, look for it later."
        return self._refuse(Unavailable(sentence, reason="shutting_down"))

    async def closing(self) -> bytes:
        return b""

    def _snapshot(self, text: str) -> bytes:
        if not text:
            return b""
        self._has_said = True
        return self._chunk({"content": text}, None)

    def _hand_over(self, asked: CallsAsked) -> bytes:
        """The caller carries out these calls, and comes back with the results."""
        self.is_over = True
        calls = [{"index": place, **call} for place, call in enumerate(asked.calls)]
        return self._chunk({"tool_calls": calls}, None) + self._last("tool_calls", asked.usage) + DONE

    def _last(self, reason: str, usage: dict[str, int]) -> bytes:
        last = self._chunk({}, reason)
        if self._with_usage:
            last += _frame({**self._head, "choices": [], "usage": usage})
        return last

    def _end(self, event: dict[str, Any]) -> bytes:
        error = error_of(event, self._failure, self._session_id)
        if error is not None:
            return self._refuse(error)
        return self._last(finish_reason(event.get("finish_reason")), usage_of(event.get("usage"), self._used)) + DONE

    def _refuse(self, error: HectorError) -> bytes:
        return _frame({"error": error_object(error)}) + DONE

    def _chunk(self, delta: dict[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _frame({**self._head, "choices": [choice]})


def _frame(shown: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(shown)
