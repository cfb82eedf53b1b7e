"""The extension `io.modelcontextprotocol/tasks`: handles of long turns; following, answering and cancelling them.

A task is a turn: it has no row of its own and no end of life of its own, survives restarts, and is seen by its owner.
"""

from __future__ import annotations

from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from app.compat.mcp_server.handles import Handled, find_task, has_forms, in_words_of_the_protocol, principal_of
from app.compat.mcp_server.questions import describe, give_answer, open_acts, questions_of
from app.compat.mcp_server.results import ended
from app.domain.clock import iso
from app.domain.turn import Outcome, Turn, TurnState
from app.runtime import Runtime

POLL_MS = 1_000
TAIL = 200
"""Characters of the text so far that a status shows."""


class TaskParams(types.RequestParams):
    model_config = ConfigDict(extra="allow", alias_generator=to_camel, populate_by_name=True)

    task_id: str


class UpdateParams(TaskParams):
    input_responses: dict[str, Any]


class TaskRequests:
    """Handlers of `tasks/get`, `tasks/update` and `tasks/cancel`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def get(self, context: ServerRequestContext, params: TaskParams) -> dict[str, Any]:
        handled = await find_task(self._runtime, context, params.task_id)
        with in_words_of_the_protocol():
            return {"resultType": "complete", **await task_json(self._runtime, context, handled)}

    async def update(self, context: ServerRequestContext, params: UpdateParams) -> dict[str, Any]:
        """Answers to questions that are not open are passed over."""
        handled = await find_task(self._runtime, context, params.task_id)
        caller, answers = principal_of(context), params.input_responses
        with in_words_of_the_protocol():
            for question in questions_of(await open_acts(self._runtime, handled)):
                if question.key in answers:
                    given = _read_answer(answers[question.key])
                    await give_answer(self._runtime, handled, question, given, caller=caller)
        return {"resultType": "complete"}

    async def cancel(self, context: ServerRequestContext, params: TaskParams) -> dict[str, Any]:
        handled = await find_task(self._runtime, context, params.task_id)
        with in_words_of_the_protocol():
            await self._runtime.stopping.cancel(handled.session_log, turn_id=handled.turn.turn_id)
        return {"resultType": "complete"}


def _read_answer(given: object) -> types.ElicitResult:
    try:
        return types.ElicitResult.model_validate(given, by_name=False)
    except ValidationError as error:
        raise MCPError(types.INVALID_PARAMS, "An answer has the fields `action` and `content`.") from error


async def created(runtime: Runtime, handled: Handled) -> dict[str, Any]:
    """The answer to a call that goes on as a task."""
    return {"resultType": "task", **_seed(handled), "status": "working", "statusMessage": _status(runtime, handled)}


async def task_json(runtime: Runtime, context: ServerRequestContext, handled: Handled) -> dict[str, Any]:
    """The task as `tasks/get` shows it."""
    seed, turn = _seed(handled), handled.turn
    outcome = await _outcome(runtime, handled)
    if outcome is not None:
        if outcome.state is TurnState.CANCELLED:
            return {**seed, "status": "cancelled", "statusMessage": outcome.reason or "cancelled"}
        found = ended(handled, outcome)
        return {
            **seed,
            "status": "completed",
            "result": found.model_dump(by_alias=True, mode="json", exclude_none=True),
        }
    acts = await open_acts(runtime, handled) if turn.state is TurnState.WAITING or _waits_below(handled) else []
    questions = questions_of(acts) if has_forms(context) else []
    if questions:
        asked = {one.key: one.request().model_dump(by_alias=True, mode="json", exclude_none=True) for one in questions}
        return {**seed, "status": "input_required", "statusMessage": "waiting for an answer", "inputRequests": asked}
    told = "; ".join([f"waits for {act.waiting_for}: {describe(act)}" for act in acts])
    return {**seed, "status": "working", "statusMessage": told or _status(runtime, handled)}


async def _outcome(runtime: Runtime, handled: Handled) -> Outcome | None:
    turn = handled.turn
    if isinstance(turn, Turn):
        return await runtime.history.outcome_of(handled.session_log, turn) if turn.state.is_final else None
    return turn.done.result() if turn.done.done() else None


def _waits_below(handled: Handled) -> bool:
    return not isinstance(handled.turn, Turn) and handled.turn.is_waiting


def _seed(handled: Handled) -> dict[str, Any]:
    turn = handled.turn
    finished = turn.finished_ms if isinstance(turn, Turn) else None
    return {
        "taskId": handled.handle,
        "createdAt": iso(turn.created_ms),
        "lastUpdatedAt": iso(finished or turn.started_ms or turn.created_ms),
        "ttlMs": None,
        "pollIntervalMs": POLL_MS,
    }


def _status(runtime: Runtime, handled: Handled) -> str:
    """What the turn is busy with, and the end of what it has said."""
    session_log = handled.session_log
    if handled.turn.state is TurnState.QUEUED:
        return "queued"
    phase = str(runtime.conversation.phase(session_log).get("phase", ""))
    tail = " ".join(session_log.visible_text()[-TAIL:].split())
    return f"{phase}: …{tail}" if tail else phase
