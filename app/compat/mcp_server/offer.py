"""What a client is offered: one tool for each agent."""

from __future__ import annotations

from typing import Any

from mcp import types

from app.agents import Agent
from app.domain.principal import Principal
from app.runtime import Runtime

INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "minLength": 1, "description": "What the agent is told or asked."},
        "session_id": {
            "type": "string",
            "description": "The conversation to go on with, from an earlier result. Left out: a new one.",
        },
    },
    "required": ["message"],
    "additionalProperties": False,
}
STATES = ["completed", "failed", "cancelled", "interrupted", "waiting", "running", "refused"]
OUTPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "session_id": {"type": "string", "description": "Send it along to go on with this conversation."},
        "turn_id": {"type": "string"},
        "status": {"type": "string", "enum": STATES},
        "waiting_for": {"type": "array", "items": {"type": "object"}, "description": "The calls that need an answer."},
        "error": {"type": "object", "description": "Why it failed or was refused: `code`, `reason`, `message`."},
    },
    "required": ["status"],
}


def offered(runtime: Runtime, caller: Principal) -> list[Agent]:
    """The agents of `compat.mcp.agents`, or all that the caller is told about."""
    names = runtime.config.compat.mcp.agents
    if names is None:
        return runtime.roster.listed(caller)
    return [agent for name in names if (agent := find(runtime, name, caller)) is not None]


def find(runtime: Runtime, name: str, caller: Principal) -> Agent | None:
    """The agent that is offered to the caller under this name."""
    names = runtime.config.compat.mcp.agents
    if names is not None and name not in names:
        return None
    agent = runtime.roster.find(name)
    return agent if agent is not None and agent.is_for(caller) else None


def tool_of(agent: Agent) -> types.Tool:
    config = agent.config
    return types.Tool(
        name=agent.name,
        title=config.name,
        description=config.description or f"Talk with the agent {config.name}.",
        input_schema=INPUT,
        output_schema=OUTPUT,
        annotations=types.ToolAnnotations(title=config.name),
    )
