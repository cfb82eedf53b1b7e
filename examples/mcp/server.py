"""An MCP server of one's own: two tools, spoken to over standard input and output."""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

HOURS = {"saturday": "10 to 14", "sunday": "closed"}
server = MCPServer("shop", log_level="ERROR")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def opening_hours(day: str) -> str:
    """When the shop is open on a day of the week."""
    return HOURS.get(day.lower(), "9 to 18")


@server.tool()
def book(day: str, hour: int) -> str:
    """Book an appointment."""
    return f"Booked: {day}, {hour}:00"


if __name__ == "__main__":
    server.run()
