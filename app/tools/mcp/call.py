"""One call of a tool: sent, sent again where that is safe, and gone on with after a person has answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp import types

from app.domain.act import ToolClass
from app.tools.base import Question, ToolContext, ToolFailed, ToolOutcome, ToolUnknown
from app.tools.mcp.faults import AnswerLost, McpFault, NotConnected, NotSent, Refused, Silent
from app.tools.mcp.following import Following
from app.tools.mcp.listing import Listed
from app.tools.mcp.questions import UnfitAnswer, params_of, question_of, response_of
from app.tools.mcp.results import read_result
from app.tools.mcp.waiting import Exchange, pause

if TYPE_CHECKING:
    from app.tools.mcp.server import McpServer

KEY = "hector/idempotencyKey"
"""Name of the call's key in `_meta`."""
MAX_KEPT = 256 * 1024
"""Characters of JSON that a server may have us keep until a person has answered."""
_ROUNDS = 10
_ROUND_SECONDS = 0.1

Found = dict[str, Any] | Question


class Call:
    """One run of a call. What must outlive it is kept in the context: a task, people's answers, that they were sent."""

    def __init__(self, server: McpServer, listed: Listed, arguments: dict[str, Any], context: ToolContext) -> None:
        self._server = server
        self._listed = listed
        self._arguments = arguments
        self._context = context
        self._is_once = listed.spec.tool_class is ToolClass.ONCE
        self._rounds = 0

    async def outcome(self) -> ToolOutcome:
        """Raises ToolFailed, ToolUnknown, ToolStopped."""
        try:
            return await self._outcome()
        except McpFault as fault:
            words = f"MCP server {self._server.name!r} {fault}"
            is_unknown = isinstance(fault, AnswerLost) and self._is_once
            raise (ToolUnknown(words) if is_unknown else ToolFailed(words)) from fault

    async def _outcome(self) -> ToolOutcome:
        kept, answer = self._context.kept or {}, self._context.answer
        if "task" in kept:
            return await Following(self._server, self._context, kept["task"]).outcome()
        if "input" in kept:
            return await self._answered(kept["input"], answer)
        exchange = self._server.take_waiting(self._context.call_id)
        if exchange is not None:
            return await self._gone_on(exchange, answer)
        if self._is_once and (answer is not None or "sent" in kept):
            raise AnswerLost("lost the call in a restart")
        return await self._read(await self._sent())

    # -- sending --------------------------------------------------------------------------------

    async def _sent(self, answers: dict[str, Any] | None = None, state: str | None = None) -> Found:
        """What came. What was not sent, or may be sent twice, is sent once more over a new connection."""
        limits = self._server.limits
        request = self._request(answers, state)
        try:
            return await self._exchanged(request, wait_seconds=limits.connect_timeout)
        except NotConnected:
            raise
        except NotSent:
            return await self._exchanged(request, wait_seconds=limits.connect_timeout)
        except AnswerLost as fault:
            if isinstance(fault, Silent) or self._is_once:
                raise
            return await self._exchanged(request, wait_seconds=limits.reconnect_timeout)

    def _request(self, answers: dict[str, Any] | None, state: str | None) -> types.CallToolRequest:
        params: dict[str, Any] = {"name": self._listed.remote_name, "arguments": self._arguments}
        if self._context.idempotency_key:
            params["_meta"] = {KEY: self._context.idempotency_key}
        if answers:
            params["inputResponses"] = answers
        if state is not None:
            params["requestState"] = state
        return types.CallToolRequest(params=types.CallToolRequestParams.model_validate(params))

    async def _exchanged(self, request: types.CallToolRequest, *, wait_seconds: float) -> Found:
        exchange = Exchange(self._context, silence_seconds=self._server.limits.tool_timeout)

        async def send() -> dict[str, Any]:
            connection = await self._server.connection(wait_seconds=wait_seconds)
            return await connection.request(request, exchange)

        exchange.begin(send())
        return await self._waited(exchange)

    async def _waited(self, exchange: Exchange) -> Found:
        found = await exchange.outcome()
        if found is not None:
            return found
        assert exchange.question is not None
        self._server.keep_waiting(self._context.call_id, exchange)
        return question_of(exchange.question)

    # -- reading --------------------------------------------------------------------------------

    async def _read(self, found: Found) -> ToolOutcome:
        if isinstance(found, Question):
            return found
        match found.get("resultType"):
            case "input_required":
                return await self._asked(found.get("inputRequests") or {}, found.get("requestState"))
            case "task":
                task = {"id": str(found.get("taskId")), "answered": []}
                await self._context.keep({"task": task})
                return await Following(self._server, self._context, task, created=found).outcome()
            case _:
                return read_result(found, max_chars=self._server.limits.max_result_chars)

    async def _asked(self, requests: dict[str, Any], state: str | None) -> ToolOutcome:
        """The server needs answers, or only wants to be asked again a little later."""
        if requests:
            return await self._next_question(requests, {}, state)
        self._rounds += 1
        if self._rounds > _ROUNDS:
            raise Refused(f"wants to be asked more than {_ROUNDS} times", 0)
        await pause(_ROUND_SECONDS * 2**self._rounds, self._context)
        return await self._read(await self._sent(None, state))

    # -- answers of people ----------------------------------------------------------------------

    async def _next_question(self, requests: dict[str, Any], answers: dict[str, Any], state: str | None) -> ToolOutcome:
        """The first request without an answer becomes a question; when all have one, the call is sent with them."""
        for key, request in requests.items():
            if key not in answers:
                params = params_of(request)
                kept = {"input": {"requests": requests, "answers": answers, "state": state}}
                if len(json.dumps(kept)) > MAX_KEPT:
                    raise Refused(f"asks with more than {MAX_KEPT} characters", 0)
                await self._context.keep(kept)
                return question_of(params)
        if self._is_once:
            await self._context.keep({"sent": True})
        return await self._read(await self._sent(answers, state))

    async def _answered(self, kept: dict[str, Any], answer: object) -> ToolOutcome:
        requests, answers = kept["requests"], kept["answers"]
        key = next(key for key in requests if key not in answers)
        params = params_of(requests[key])
        if answer is None:
            return question_of(params)
        try:
            response = response_of(params, answer)
        except UnfitAnswer as unfit:
            return question_of(params, mistake=str(unfit))
        return await self._next_question(requests, {**answers, key: response}, kept["state"])

    async def _gone_on(self, exchange: Exchange, answer: object) -> ToolOutcome:
        """The server of an older protocol has waited, with the call open."""
        exchange.context = self._context
        question = exchange.question or {}
        try:
            if answer is None:
                raise UnfitAnswer("")
            exchange.reply(response_of(question, answer))
        except UnfitAnswer as unfit:
            self._server.keep_waiting(self._context.call_id, exchange)
            return question_of(question, mistake=str(unfit))
        try:
            found = await self._waited(exchange)
        except AnswerLost:
            if self._is_once:
                raise
            found = await self._sent()
        return await self._read(found)
