"""A tool of an MCP server as agents call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.tools.base import ToolContext, ToolOutcome, ToolSpec
from app.tools.mcp.call import Call
from app.tools.mcp.listing import Listed

if TYPE_CHECKING:
    from app.tools.mcp.server import McpServer


class McpTool:
    def __init__(self, server: McpServer, listed: Listed) -> None:
        self._server = server
        self._listed = listed

    @property
    def spec(self) -> ToolSpec:
        return self._listed.spec

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        return await Call(self._server, self._listed, arguments, context).outcome()
