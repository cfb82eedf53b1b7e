"""Following a task: polled until it is over, gone on with after a restart, cancelled when the call is stopped."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mcp import types

from app.tools.base import ToolContext, ToolOutcome, ToolStopped
from app.tools.mcp.faults import AnswerLost, McpFault, NotSent, Refused
from app.tools.mcp.questions import UnfitAnswer, params_of, question_of, response_of
from app.tools.mcp.results import read_result
from app.tools.mcp.tasks import CancelTask, GetTask, TaskParams, UpdateParams, UpdateTask
from app.tools.mcp.waiting import Exchange, pause

if TYPE_CHECKING:
    from app.tools.mcp.server import McpServer

_DEFAULT_POLL = 1.0
_LEAST_POLL, _MOST_POLL = 0.05, 60.0
_ANSWER_SECONDS = 30.0
_CANCEL_SECONDS = 2.0
_REFUSALS = 10
_GONE = (types.INVALID_PARAMS, types.METHOD_NOT_FOUND, types.MISSING_REQUIRED_CLIENT_CAPABILITY)
_WORDS = 1_000


class Following:
    """`kept` is `{"id", "answered", "asked"?}`: the task, the keys of answered questions, the open question."""

    def __init__(
        self, server: McpServer, context: ToolContext, kept: dict[str, Any], *, created: dict[str, Any] | None = None
    ) -> None:
        self._server = server
        self._context = context
        self._id = str(kept["id"])
        self._answered: list[str] = list(kept.get("answered") or [])
        self._asked: dict[str, Any] | None = kept.get("asked")
        self._poll_seconds = 0.0 if created is None else _poll_of(created)
        self._said = ""

    async def outcome(self) -> ToolOutcome:
        """Raises ToolStopped, when the task was told to end; McpFault."""
        try:
            if self._asked is not None and self._context.answer is not None:
                key, params = str(self._asked["key"]), self._asked["params"]
                try:
                    response = response_of(params, self._context.answer)
                except UnfitAnswer as unfit:
                    return question_of(params, mistake=str(unfit))
                await self._give_answer(key, response)
            return await self._poll()
        except ToolStopped:
            await self._cancel()
            raise

    async def _give_answer(self, key: str, response: dict[str, Any]) -> None:
        """Again if the connection breaks: a server passes over what was answered before."""
        params = UpdateParams(task_id=self._id, input_responses={key: response})
        for seconds in (1.0, 5.0, 15.0):
            try:
                await self._ask(UpdateTask(params=params))
                break
            except (NotSent, AnswerLost):
                await pause(seconds, self._context)
        else:
            await self._ask(UpdateTask(params=params))
        self._answered.append(key)
        await self._context.keep({"task": {"id": self._id, "answered": self._answered}})

    async def _poll(self) -> ToolOutcome:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._server.limits.task_timeout
        refusals = 0
        while loop.time() < until:
            await pause(self._poll_seconds, self._context)
            try:
                task = await self._ask(GetTask(params=TaskParams(task_id=self._id)))
            except Refused as fault:
                refusals += 1
                if fault.code in _GONE or refusals > _REFUSALS:
                    raise AnswerLost(f"tells nothing of the task any more: {fault}") from fault
                self._slow_down()
            except McpFault:
                self._slow_down()  # it may come back; the task goes on meanwhile
            else:
                outcome = await self._judged(task)
                if outcome is not None:
                    return outcome
                self._poll_seconds = _poll_of(task)
        raise AnswerLost(f"has not ended the task within {self._server.limits.task_timeout:g} s")

    async def _judged(self, task: dict[str, Any]) -> ToolOutcome | None:
        """What came of the task; `None`: it is at work."""
        told = str(task.get("statusMessage") or "")[:_WORDS]
        match task.get("status"):
            case "completed":
                return read_result(task.get("result"), max_chars=self._server.limits.max_result_chars)
            case "failed":
                error = task.get("error")
                words = str(error.get("message"))[:_WORDS] if isinstance(error, dict) else told
                raise Refused(f"failed the task: {words}", 0)
            case "cancelled":
                raise Refused(f"cancelled the task{': ' if told else ''}{told}", 0)
            case "input_required":
                return await self._question_of(task.get("inputRequests"))
        if told and told != self._said:
            self._said = told
            self._context.progress(told.rstrip("\n") + "\n")
        return None

    async def _question_of(self, requests: object) -> ToolOutcome | None:
        for key, request in requests.items() if isinstance(requests, dict) else ():
            if key not in self._answered:
                params = params_of(request)
                asked = {"key": key, "params": params}
                await self._context.keep({"task": {"id": self._id, "answered": self._answered, "asked": asked}})
                return question_of(params)
        return None

    async def _ask(self, request: types.Request[Any, Any]) -> dict[str, Any]:
        exchange = Exchange(self._context, silence_seconds=_ANSWER_SECONDS)

        async def send() -> dict[str, Any]:
            connection = await self._server.connection(wait_seconds=self._server.limits.reconnect_timeout)
            return await connection.request(request)

        exchange.begin(send())
        found = await exchange.outcome()
        assert found is not None, "only calls are asked questions"
        return found

    async def _cancel(self) -> None:
        with suppress(McpFault, TimeoutError):
            async with asyncio.timeout(_CANCEL_SECONDS):
                connection = await self._server.connection(wait_seconds=_CANCEL_SECONDS)
                await connection.request(CancelTask(params=TaskParams(task_id=self._id)))

    def _slow_down(self) -> None:
        self._poll_seconds = min(max(2 * self._poll_seconds, _DEFAULT_POLL), _MOST_POLL)


def _poll_of(task: dict[str, Any]) -> float:
    wanted = task.get("pollIntervalMs")
    seconds = wanted / 1000 if isinstance(wanted, (int, float)) else _DEFAULT_POLL
    return max(_LEAST_POLL, min(_MOST_POLL, seconds))
