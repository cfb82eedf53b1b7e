"""Tools of MCP servers, over stdio and streamable HTTP."""

from __future__ import annotations

from app.tools.mcp.endpoint import Limits
from app.tools.mcp.server import McpServer, McpStatus

__all__ = ["Limits", "McpServer", "McpStatus"]
