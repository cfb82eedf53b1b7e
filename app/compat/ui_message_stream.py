"""The UI message stream of the AI SDK: `POST /agents/{agent}/ui` and its reconnect, for pages that use `useChat`.

The chat's id is the session's. The session has the history, so only the last message of the list is read: the user's,
or the page's own with answers to open calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, StrictStr
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.compat.ui_message_chunks import UiMessageChunks
from app.conversation.conversation import Sending
from app.domain.errors import InvalidRequest, NotFound
from app.domain.message import is_blank
from app.domain.principal import Principal
from app.doors.answers import Answer
from app.doors.chat_turn import ChatTurn, answer_calls, open_session, read_posted, regenerate, send
from app.doors.open_calls import CallAnswer, open_calls
from app.doors.turn_stream import TurnStream
from app.events.log import SessionLog
from app.runtime import Runtime

HEADERS = ((b"x-vercel-ai-ui-message-stream", b"v1"),)


class UiMessage(BaseModel):
    """A message of the page. Parts that are neither text nor tools are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: StrictStr = ""
    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]] = []


class ChatRequest(BaseModel):
    """What `DefaultChatTransport` sends. Other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: StrictStr
    messages: list[UiMessage]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"


def routes(runtime: Runtime) -> list[Route]:
    """Nothing unless `compat.ai_sdk.enabled`."""
    if not runtime.config.compat.ai_sdk.enabled:
        return []
    return [
        Route("/agents/{agent}/ui", _Send(runtime), methods=["POST"]),
        Route("/agents/{agent}/ui/{session_id}/stream", _Reconnect(runtime), methods=["GET"]),
    ]


class _Send:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = self._runtime
        asked = await read_posted(runtime, scope, receive, ChatRequest)
        caller, agent = scope["principal"], scope["path_params"]["agent"]
        wanted = wanted_by(asked)
        session_log = await open_session(runtime, caller, agent, asked.id)
        with ExitStack() as stack:
            turn = await self._turn(caller, agent, session_log, asked, wanted, stack)
            goes_on = not isinstance(wanted, Sending)
            await _stream(runtime, session_log, turn, goes_on=goes_on)(scope, receive, send)

    async def _turn(
        self,
        caller: Principal,
        agent: str,
        session_log: SessionLog,
        asked: ChatRequest,
        wanted: Sending | list[CallAnswer],
        stack: ExitStack,
    ) -> ChatTurn:
        if not isinstance(wanted, Sending):
            return await answer_calls(self._runtime, caller, agent, session_log, wanted, stack, must_answer_all=False)
        if asked.trigger == "regenerate-message" and wanted.text is not None:
            return await regenerate(self._runtime, caller, agent, session_log, wanted.text, stack)
        return await send(self._runtime, caller, agent, session_log, wanted, stack)


class _Reconnect:
    """The turn that runs or waits, from its start; 204 when there is none."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names, conversation = scope["path_params"], self._runtime.conversation
        self._runtime.roster.get(names["agent"], scope["principal"])
        try:
            attached = await conversation.attach(
                scope["principal"], names["agent"], names["session_id"], until_turn_end=True
            )
        except NotFound:  # a chat that has said nothing yet
            attached = None
        turn_id = attached.view.until_turn if attached is not None else None
        if attached is None or turn_id is None:
            await Answer(status_code=204)(scope, receive, send)
            return
        with attached.reading as reading:
            turn = ChatTurn(turn_id, reading, replace(attached.view, turn_id=turn_id, until_turn=None))
            await _stream(self._runtime, reading.log, turn, goes_on=False)(scope, receive, send)


def _stream(runtime: Runtime, session_log: SessionLog, turn: ChatTurn, *, goes_on: bool) -> TurnStream:
    session_id = session_log.session.session_id
    calls = partial(open_calls, runtime, session_log)
    chunks = UiMessageChunks(session_id, turn.turn_id, calls=calls, goes_on=goes_on)
    return TurnStream(runtime.conversation, turn.reading, turn.view, chunks, headers=HEADERS)


def wanted_by(asked: ChatRequest) -> Sending | list[CallAnswer]:
    """The new message, or the answers to open calls that the last message has. Raises InvalidRequest."""
    last = asked.messages[-1] if asked.messages else None
    if last is not None and last.role == "assistant" and (answers := list(_answers(last))):
        return answers
    if last is None or last.role != "user":
        raise InvalidRequest(
            "messages: the last one must be the user's, which is the new message of the session, "
            "or the assistant's with answers to its calls."
        )
    text = "\n".join([part["text"] for part in last.parts if isinstance(part.get("text"), str)])
    if is_blank(text):
        raise InvalidRequest("messages: the last one has no text.")
    # An edited message keeps its id: it is a new message here, so the text belongs to the key.
    digest = hashlib.sha256(f"{last.id}\n{text}".encode(errors="replace")).hexdigest()
    return Sending(text, key=f"ui:{digest}" if last.id else None)


def _answers(message: UiMessage) -> Iterator[CallAnswer]:
    """What the page has answered to calls; those that were answered before are among them."""
    for part in message.parts:
        call_id = part.get("toolCallId")
        if not isinstance(call_id, str):
            continue
        approval = part.get("approval")
        if part.get("state") == "approval-responded" and isinstance(approval, dict):
            yield CallAnswer(call_id, {"approved": approval.get("approved"), "reason": approval.get("reason")})
        elif part.get("state") == "output-available" and not part.get("providerExecuted"):
            yield CallAnswer(call_id, part.get("output"))
        elif part.get("state") == "output-error" and not part.get("providerExecuted"):
            yield CallAnswer(call_id, is_refused=True)
