"""Following a turn on behalf of a call: progress while it runs, questions while it waits, its end as the result."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from anyio import BrokenResourceError, ClosedResourceError
from mcp import types
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from app.compat.mcp_server import results
from app.compat.mcp_server.handles import Handled, has_forms, has_tasks, principal_of
from app.compat.mcp_server.presence import Presence, presence_of
from app.compat.mcp_server.progress import Progress
from app.compat.mcp_server.questions import Question, give_answer, open_acts, questions_of
from app.compat.mcp_server.tasks import created
from app.conversation.stream import Later, Silence, leave, stream
from app.conversation.view import is_nested, view_of
from app.domain.errors import HectorError
from app.domain.event import EventKind
from app.domain.turn import Turn, TurnState
from app.events.follow import Reading
from app.events.run import Run
from app.observability.tasks import Tasks
from app.runtime import Runtime

END_SECONDS = 10.0
"""How long the end of a turn may take to be stored once readers have it."""


class Followed:
    """One call's turn."""

    def __init__(
        self,
        runtime: Runtime,
        context: ServerRequestContext,
        handled: Handled,
        reading: Reading,
        tasks: Tasks,
    ) -> None:
        self._runtime = runtime
        self._context = context
        self._handled = handled
        self._reading = reading
        self._tasks = tasks
        seconds = runtime.config.compat.mcp.progress_interval.total_seconds()
        self._progress = Progress(context, reading, seconds=seconds)
        self._asking: asyncio.Task[None] | None = None
        self._is_left = False

    async def result(self, *, is_asked: bool = False, may_ask: bool = True) -> HandlerResult:
        """`is_asked`: the turn has waited for this client; without `may_ask` it was not answered."""
        turn = self._handled.turn
        if isinstance(turn, Turn):
            outcome = await self._runtime.history.outcome_of(self._handled.session_log, turn)
            return results.ended(self._handled, outcome)
        if is_asked and turn.state is TurnState.WAITING:
            acts = await open_acts(self._runtime, self._handled)
            if acts:
                return self._asked(questions_of(acts)) if may_ask else results.waiting(self._handled, acts)
        late = None
        if has_tasks(self._context):
            seconds = self._runtime.config.compat.mcp.task_after.total_seconds()
            late = asyncio.get_running_loop().call_later(seconds, self._leave)
        presence = self._presence()
        if presence is not None:
            presence.on_leave(self._leave)
        try:
            return await self._followed()
        finally:
            if presence is not None:
                presence.on_leave(None)
            self._progress.close()
            for started in (late, self._asking):
                if started is not None:
                    started.cancel()

    def _presence(self) -> Presence | None:
        """Of clients of older protocols; with the newest one the call is cancelled when its client leaves."""
        is_older, request = self._context.session.can_send_request, self._context.request
        return presence_of(request.scope) if is_older and request is not None else None

    def _leave(self) -> None:
        self._is_left = True
        leave(self._reading)

    async def _followed(self) -> HandlerResult:
        handled = self._handled
        view = view_of(handled.agent.config, turn_id=handled.turn.turn_id)
        async with aclosing(stream(self._runtime.conversation, self._reading, view)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Later):
                    return await self._unfinished()
                if isinstance(piece, Silence):
                    await self._progress.tell_phase(piece.phase)
                    continue
                await self._progress.show(piece)
                if (answer := await self._looked_at(piece)) is not None:
                    return answer
        await self._progress.flush()
        return await self._unfinished() if self._is_left else await self._ended()

    async def _ended(self) -> HandlerResult:
        turn = self._handled.turn
        assert not isinstance(turn, Turn)
        async with asyncio.timeout(END_SECONDS):
            outcome = await asyncio.shield(turn.done)
        return results.ended(self._handled, outcome)

    async def _unfinished(self) -> HandlerResult:
        """The turn is not over: a task, where the client knows tasks; what waits for an answer, else."""
        if has_tasks(self._context):
            return await created(self._runtime, self._handled)
        acts = await open_acts(self._runtime, self._handled)
        return results.waiting(self._handled, acts) if acts else results.running(self._handled)

    # -- questions ------------------------------------------------------------------------------

    async def _looked_at(self, runs: list[Run]) -> HandlerResult:
        """The answer to the call, if the turn waits for somebody whom it is to ask."""
        if any(run.kind is EventKind.RESUMED and not is_nested(run) for run in runs) and self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if not any(_asks(run) for run in runs):
            return None
        await self._progress.flush()
        acts = await open_acts(self._runtime, self._handled)
        if not acts:
            return None
        if has_tasks(self._context):
            return await created(self._runtime, self._handled)
        questions = questions_of(acts) if has_forms(self._context) else []
        if len(questions) < len(acts):
            return results.waiting(self._handled, acts)
        if not self._context.session.can_send_request:
            return self._asked(questions)
        self._ask_now(questions)
        return None

    def _asked(self, questions: list[Question]) -> HandlerResult:
        """Protocol 2026-07-28: the client makes the call once more, with the answers."""
        requests: dict[str, Any] = {question.key: question.request() for question in questions}
        return types.InputRequiredResult(input_requests=requests, request_state=self._handled.handle)

    def _ask_now(self, questions: list[Question]) -> None:
        """Older protocols: the client is asked while the call is open. What somebody else answers is not waited for."""
        if self._asking is not None:
            self._asking.cancel()
        turn_id = self._handled.turn.turn_id
        self._asking = self._tasks.start(self._ask(questions), name=f"questions of {turn_id}")

    async def _ask(self, questions: list[Question]) -> None:
        caller, session = principal_of(self._context), self._context.session
        for question in questions:
            try:
                given = await session.elicit_form(
                    question.message, question.schema, related_request_id=self._context.request_id
                )
                is_answered = await give_answer(self._runtime, self._handled, question, given, caller=caller)
            except (MCPError, ValidationError, ClosedResourceError, BrokenResourceError, HectorError):
                is_answered = False
            if not is_answered:
                self._leave()  # the result says who else may answer
                return


def _asks(run: Run) -> bool:
    """Whether the turn waits, or a turn of an agent that it called."""
    return run.kind is EventKind.WAITING or (run.kind is EventKind.APPROVAL_REQUEST and is_nested(run))
