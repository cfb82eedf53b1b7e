"""The tool by which an agent calls another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain.act import ToolClass
from app.tools.base import ToolContext, ToolFailed, ToolOutcome, ToolSpec, ToolStopped
from app.tools.ports import AgentCall as Call
from app.tools.ports import CallAgent


class AgentCall:
    """Sends a message to one of the agents that an agent may call; the answer is its result."""

    def __init__(self, call_agent: CallAgent, callees: Mapping[str, str], *, max_depth: int) -> None:
        """`callees`: the agents that may be called, with what each is for."""
        self._call_agent = call_agent
        self._callees = tuple(callees)
        self._max_depth = max_depth
        self._spec = ToolSpec(
            "agent_call",
            "Give a task to another agent and get its answer. It knows nothing of this conversation: tell it all that "
            "it needs. The agents:\n" + "\n".join([f"- {name}: {purpose}" for name, purpose in callees.items()]),
            {
                "type": "object",
                "properties": {
                    "agent": {"type": "string", "enum": list(callees), "description": "Who gets the task."},
                    "message": {"type": "string", "minLength": 1, "description": "The task, with all it needs."},
                },
                "required": ["agent", "message"],
                "additionalProperties": False,
            },
            ToolClass.ONCE,
            source="agent",
        )

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        if context.is_stopped:
            raise ToolStopped
        name = arguments["agent"]
        if name not in self._callees:
            raise ToolFailed(f"There is no agent {name!r} that you may call: {', '.join(self._callees) or 'none'}.")
        return await self._call_agent(Call(name, arguments["message"], self._max_depth), context)
