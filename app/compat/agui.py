"""AG-UI 1.0: `POST /agents/{agent}/agui` runs one turn of the session that the thread is.

The session has the history, so only the last message of the list is read, which must be the user's. A run whose turn
waits for somebody ends with interrupts, and a run with `resume` answers them.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.compat.agui_events import AguiEvents, run_error
from app.config.compat import AguiConfig
from app.conversation.conversation import Sending
from app.domain.errors import InvalidRequest
from app.domain.message import Message, is_blank
from app.domain.principal import Principal
from app.doors.answers import Answer
from app.doors.chat_turn import CallsOpen, ChatTurn, answer_calls, open_session, read_posted, send
from app.doors.open_calls import CallAnswer, open_calls
from app.doors.turn_stream import TurnStream
from app.events.log import SessionLog
from app.runtime import Runtime

NEWEST = 200
"""Messages of a snapshot, at most."""


class Posted(BaseModel):
    """Fields of the protocol that are not here are ignored: the tools and the state of the page, among others."""

    model_config = ConfigDict(extra="ignore")


class Context(Posted):
    description: StrictStr = ""
    value: StrictStr = ""


class ResumeEntry(Posted):
    interruptId: StrictStr
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class RunInput(Posted):
    """`RunAgentInput` of the protocol."""

    threadId: StrictStr
    runId: StrictStr = Field(min_length=1, max_length=190)
    messages: list[dict[str, Any]] = []
    context: list[Context] = []
    resume: list[ResumeEntry] | None = None


def routes(runtime: Runtime) -> list[Route]:
    """Nothing unless `compat.agui.enabled`."""
    if not runtime.config.compat.agui.enabled:
        return []
    return [Route("/agents/{agent}/agui", _Run(runtime), methods=["POST"])]


class _Run:
    """An ASGI application for `Route`, which wraps functions but leaves objects alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = self._runtime
        asked = await read_posted(runtime, scope, receive, RunInput)
        caller, agent = scope["principal"], scope["path_params"]["agent"]
        wanted = wanted_by(asked, self._runtime.config.compat.agui)
        session_log = await open_session(runtime, caller, agent, asked.threadId)
        with ExitStack() as stack:
            try:
                turn = await self._turn(caller, agent, session_log, wanted, stack)
            except CallsOpen as error:
                body = run_error(asked.threadId, asked.runId, error.message, "interrupts_open")
                await Answer(body, media_type="text/event-stream; charset=utf-8")(scope, receive, send)
                return
            events = AguiEvents(
                asked.threadId,
                asked.runId,
                turn.turn_id,
                calls=partial(open_calls, runtime, session_log),
                history=partial(_history, runtime, session_log),
                goes_on_after=None if isinstance(wanted, Sending) else turn.reading.cursor,
            )
            await TurnStream(runtime.conversation, turn.reading, turn.view, events)(scope, receive, send)

    async def _turn(
        self,
        caller: Principal,
        agent: str,
        session_log: SessionLog,
        wanted: Sending | list[CallAnswer],
        stack: ExitStack,
    ) -> ChatTurn:
        if isinstance(wanted, Sending):
            return await send(self._runtime, caller, agent, session_log, wanted, stack)
        return await answer_calls(self._runtime, caller, agent, session_log, wanted, stack, must_answer_all=True)


async def _history(runtime: Runtime, session_log: SessionLog, upto: int) -> list[Message]:
    found = await runtime.history.messages(session_log, before=upto + 1, limit=NEWEST)
    return [message for message in found if message.status != "replaced"]


def wanted_by(asked: RunInput, config: AguiConfig) -> Sending | list[CallAnswer]:
    """The new message, or the answers to open calls. Raises InvalidRequest."""
    if asked.resume:
        return [answer_of(entry) for entry in asked.resume]
    instructions = instructions_of(asked.context, config.max_context)
    return Sending(text_of(asked.messages), instructions, key=f"agui:{asked.runId}")


def answer_of(entry: ResumeEntry) -> CallAnswer:
    """`editedArgs` of the protocol's own schema are our `arguments`."""
    value = entry.payload
    if isinstance(value, dict) and "editedArgs" in value:
        value = {**value, "arguments": value["editedArgs"]}
    return CallAnswer(entry.interruptId, value, is_refused=entry.status == "cancelled")


def text_of(messages: list[dict[str, Any]]) -> str:
    """The text of the last message, which is new. Raises InvalidRequest: it is not the user's, or has no text."""
    spoken = [message for message in messages if message.get("role") in ("user", "assistant", "tool")]
    if not spoken or spoken[-1].get("role") != "user":
        raise InvalidRequest("messages: the last one must be the user's; it is the new message of the session.")
    content = spoken[-1].get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "\n".join([part for part in parts if isinstance(part, str)])
    if not isinstance(content, str) or is_blank(content):
        raise InvalidRequest("messages: the last one has no text.")
    return content


def instructions_of(context: list[Context], most: int) -> str | None:
    """What the page says about the situation, for this turn only. Raises InvalidRequest: it is longer than `most`."""
    said = "\n\n".join([f"{one.description}:\n{one.value}" for one in context if one.value])
    if len(said) > most:
        raise InvalidRequest(f"context: more than {most} characters (compat.agui.max_context).")
    return said or None
