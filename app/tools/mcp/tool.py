"""A tool of an MCP server as agents call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp import types
from pydantic import ValidationError

from app.domain.act import ToolClass
from app.tools.base import ToolContext, ToolFailed, ToolOutcome, ToolSpec, ToolUnknown
from app.tools.mcp.faults import AnswerLost, McpFault, NotConnected, NotSent, Silent
from app.tools.mcp.listing import Listed
from app.tools.mcp.results import result_of
from app.tools.mcp.waiting import Progress, answer_of

if TYPE_CHECKING:
    from app.tools.mcp.server import McpServer

KEY = "hector/idempotencyKey"
"""Name of the call's key in `_meta`."""


class McpTool:
    def __init__(self, server: McpServer, listed: Listed) -> None:
        self._server = server
        self._remote_name = listed.remote_name
        self._spec = listed.spec

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        progress = Progress(context)
        found = await self._sent(self._request(arguments, context), progress)
        return self._outcome(found)

    def _request(self, arguments: dict[str, Any], context: ToolContext) -> types.CallToolRequest:
        meta: Any = {KEY: context.idempotency_key} if context.idempotency_key else None
        params = types.CallToolRequestParams(name=self._remote_name, arguments=arguments, _meta=meta)
        return types.CallToolRequest(params=params)

    async def _sent(self, request: types.CallToolRequest, progress: Progress) -> dict[str, Any]:
        """The raw result. What was not sent, or may be sent twice, is sent once more over a new connection."""
        limits = self._server.limits
        try:
            try:
                return await self._answer(request, progress, wait_seconds=limits.connect_timeout)
            except NotConnected:
                raise
            except NotSent:
                return await self._answer(request, progress, wait_seconds=limits.connect_timeout)
            except AnswerLost as fault:
                if isinstance(fault, Silent) or self._spec.tool_class is ToolClass.ONCE:
                    raise
                return await self._answer(request, progress, wait_seconds=limits.reconnect_timeout)
        except McpFault as fault:
            raise self._given_up(fault) from fault

    async def _answer(
        self, request: types.CallToolRequest, progress: Progress, *, wait_seconds: float
    ) -> dict[str, Any]:
        async def send() -> dict[str, Any]:
            connection = await self._server.connection(wait_seconds=wait_seconds)
            return await connection.request(request, on_progress=progress)

        return await answer_of(send(), progress, silence_seconds=self._server.limits.tool_timeout)

    def _given_up(self, fault: McpFault) -> ToolFailed | ToolUnknown:
        words = f"MCP server {self._server.name!r} {fault}"
        is_unknown = isinstance(fault, AnswerLost) and self._spec.tool_class is ToolClass.ONCE
        return ToolUnknown(words) if is_unknown else ToolFailed(words)

    def _outcome(self, found: dict[str, Any]) -> ToolOutcome:
        try:
            result = types.CallToolResult.model_validate(found, by_name=False)
        except ValidationError as error:
            raise ToolFailed(f"{self._server.name} answered with what is no result of a tool") from error
        return result_of(result, max_chars=self._server.limits.max_result_chars)
