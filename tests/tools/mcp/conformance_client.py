"""Our client for the conformance suite of MCP, which adds an address: calls every tool there, answers every question.

    npx @modelcontextprotocol/conformance client --scenario tools_call \
        --command "python tests/tools/mcp/conformance_client.py"

The suite needs Node 22 or newer. docs/mcp.md has the results.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from app.tools.base import Question, Tool, ToolContext, ToolOutcome
from app.tools.mcp import Limits, McpServer

SAMPLES: dict[str, Any] = {"number": 2, "integer": 2, "boolean": True, "array": [], "object": {}}


def arguments_of(tool: Tool) -> dict[str, Any]:
    properties = tool.spec.parameters.get("properties", {})
    return {name: SAMPLES.get(str(schema.get("type")), "text") for name, schema in properties.items()}


async def call(tool: Tool) -> ToolOutcome:
    kept: dict[str, Any] | None = None
    answer: Any = None
    while True:
        context = ToolContext(tool.spec.name, "s", "t", "a", "p", "u", kept=kept, answer=answer)
        outcome = await tool.run(arguments_of(tool), context)
        if not isinstance(outcome, Question):
            return outcome
        kept, answer = context.kept or {}, {}  # the defaults of the schema


async def main(url: str) -> None:
    server = McpServer("conformance", url=url, limits=Limits(connect_timeout=20))
    await server.open()
    try:
        print(server.status)
        for tool in server.tools():
            print(tool.spec.name, await call(tool))
        if server.status.state != "connected":
            sys.exit(server.status.why or "not connected")
    finally:
        await server.close()


asyncio.run(main(sys.argv[1]))
