"""The door for MCP clients: `/mcp` (streamable HTTP), one tool for each agent. The first request loads the SDK.

Protocol 2026-07-28 has no sessions: each request stands alone. For clients of 2025-11-25 and older the SDK keeps a
connection, which holds nothing but what it waits for. Sessions, turns and tasks are Hector's own.
"""

from __future__ import annotations

from app.compat.mcp_server.door import McpDoor

__all__ = ["McpDoor"]
