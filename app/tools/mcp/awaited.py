"""A tool of a server that has not told its tools yet: after a restart a call goes on before its server is connected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from app.tools.base import Tool, ToolContext, ToolFailed, ToolOutcome, ToolSpec, ToolStopped, ToolUnknown
from app.tools.mcp.faults import NotConnected

if TYPE_CHECKING:
    from app.tools.mcp.server import McpServer


class AwaitedTool:
    """Waits for the server, then is the tool of this name. Until then nobody knows its schema or its class."""

    def __init__(self, server: McpServer, name: str) -> None:
        self._server = server
        self.spec = ToolSpec(name, "", {"type": "object"}, source=f"mcp:{server.name}")

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        try:
            tool = await self._found(context)
        except NotConnected as fault:
            words = f"MCP server {self._server.name!r} {fault}"
            raise (ToolFailed(words) if context.kept is None else ToolUnknown(words)) from fault
        return await tool.run(arguments, context)

    async def _found(self, context: ToolContext) -> Tool:
        waiting = asyncio.ensure_future(self._server.connection(wait_seconds=self._server.limits.handshake_timeout))
        stop = asyncio.ensure_future(context.stop.wait())
        try:
            await asyncio.wait({waiting, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ToolStopped
            waiting.result()
        finally:
            waiting.cancel()
            stop.cancel()
        for tool in self._server.tools():
            if tool.spec.name == self.spec.name:
                return tool
        raise ToolFailed(f"MCP server {self._server.name!r} has no tool {self.spec.name!r}")
