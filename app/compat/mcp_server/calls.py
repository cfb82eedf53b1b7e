"""Calls: `tools/call` becomes a message to an agent, in a session that the client names or in a new one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import anyio
from mcp import types
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError

from app.agents import Agent
from app.compat.mcp_server.following import Followed
from app.compat.mcp_server.handles import Handled, find_turn, has_tasks, principal_of
from app.compat.mcp_server.offer import find
from app.compat.mcp_server.questions import give_answer, open_acts, questions_of
from app.compat.mcp_server.results import refused
from app.conversation.conversation import Sending
from app.domain.errors import HectorError, InvalidRequest, overloaded
from app.domain.principal import Principal
from app.domain.turn import OnBusy
from app.events.log import SessionLog
from app.observability.tasks import Tasks
from app.runtime import Runtime

KEY = "hector/idempotencyKey"
"""Name of a call's key in `_meta`: the same key and message again is the same turn."""


class Calls:
    """One for the process; `close` it when no call can come any more."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks = Tasks()

    async def answer(self, context: ServerRequestContext, params: types.CallToolRequestParams) -> HandlerResult:
        """Raises MCPError: there is no such tool. What else is wrong is told in the result, for a model to read."""
        agent = find(self._runtime, params.name, principal_of(context))
        if agent is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name[:200]}")
        try:
            if params.request_state is not None:
                return await self._go_on(context, params)
            return await self._begin(context, agent, params.arguments or {})
        except HectorError as error:
            return refused(error)

    async def close(self) -> None:
        await self._tasks.wait(seconds=2)
        await self._tasks.cancel()

    # -- a new message --------------------------------------------------------------------------

    async def _begin(self, context: ServerRequestContext, agent: Agent, arguments: dict[str, Any]) -> HandlerResult:
        runtime, principal = self._runtime, principal_of(context)
        message, session_id = read_arguments(arguments)
        runtime.conversation.check_length(message)
        if not await runtime.lag.may_begin():
            raise overloaded("The server has more to do than it can do in time (server.max_lag)")
        key = _key_of(context)
        session_log = await self._session(principal, agent, session_id, key)
        # A call wants an answer of its own: where messages usually enter the running turn, it is queued.
        on_busy: OnBusy | None = "queue" if runtime.config.sessions.on_busy == "steer" else None
        # What may become a task is nobody's to wait for: its client may be away for as long as it likes.
        sending = Sending(message, key=key, on_busy=on_busy, background=has_tasks(context))
        following = await runtime.conversation.send(principal, agent.name, session_log, sending)
        with ExitStack() as stack:
            if not sending.background:  # counts as a reader, whose leaving begins the grace
                stack.enter_context(following)
            with anyio.CancelScope(shield=True):  # a turn that nobody knows of could not be cancelled
                turn = await following.start()
            if sending.background:
                stack.enter_context(following.reading)
            handled = Handled(agent, session_log, turn)
            async with self._cancelling(handled):
                return await Followed(runtime, context, handled, following.reading, self._tasks).result()

    async def _session(self, principal: Principal, agent: Agent, session_id: str | None, key: str | None) -> SessionLog:
        if session_id is not None:
            return await self._runtime.conversation.session(principal, agent.name, session_id, has_key=key is not None)
        chosen = None if key is None else _session_for(principal, agent, key)
        session_log, _ = await self._runtime.sessions.create(principal, agent.name, session_id=chosen)
        return session_log

    # -- answers to what a turn asked -----------------------------------------------------------

    async def _go_on(self, context: ServerRequestContext, params: types.CallToolRequestParams) -> HandlerResult:
        """The call once more, with answers (protocol 2026-07-28): its state names the turn, which goes on."""
        runtime, principal = self._runtime, principal_of(context)
        handled = await find_turn(runtime, principal, params.request_state or "")
        conversation, session_log = runtime.conversation, handled.session_log
        with conversation.read(session_log, handled.agent, after=session_log.visible_seq) as reading:
            await conversation.count(reading)
            answers, decided = params.input_responses or {}, False
            for question in questions_of(await open_acts(runtime, handled)):
                given = answers.get(question.key)
                if isinstance(given, types.ElicitResult):
                    decided |= await give_answer(runtime, handled, question, given, caller=principal)
            async with self._cancelling(handled):
                followed = Followed(runtime, context, handled, reading, self._tasks)
                return await followed.result(is_asked=True, may_ask=decided)

    # -- the client's leaving -------------------------------------------------------------------

    @asynccontextmanager
    async def _cancelling(self, handled: Handled) -> AsyncIterator[None]:
        """The client cancels the request, or closes its connection where that means the same: the turn is cancelled."""
        try:
            yield
        except asyncio.CancelledError:
            if not self._runtime.is_stopping:
                cancel = self._runtime.stopping.cancel(handled.session_log, turn_id=handled.turn.turn_id)
                self._tasks.start(cancel, name=f"cancellation of {handled.turn.turn_id}")
            raise


def read_arguments(arguments: dict[str, Any]) -> tuple[str, str | None]:
    """(message, session_id). Raises InvalidRequest."""
    unknown = [name for name in arguments if name not in ("message", "session_id")]
    if unknown:
        raise InvalidRequest(f"Unknown argument {unknown[0][:100]!r}; known are message and session_id.")
    message, session_id = arguments.get("message"), arguments.get("session_id")
    if not isinstance(message, str) or not message:
        raise InvalidRequest("message must be a text that is not empty.")
    if session_id is not None and not isinstance(session_id, str):
        raise InvalidRequest("session_id must be a text.")
    return message, session_id or None


def _key_of(context: ServerRequestContext) -> str | None:
    key = (context.meta or {}).get(KEY)
    return key if isinstance(key, str) and key else None


def _session_for(principal: Principal, agent: Agent, key: str) -> str:
    """The new session of a call with a key: the same call again goes to the same session."""
    named = f"{principal.id}\0{principal.effective_user}\0{agent.name}\0{key}"
    return f"mcp-{hashlib.sha256(named.encode()).hexdigest()[:32]}"
