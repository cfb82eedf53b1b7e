"""The tools of an agent, and beside them those that the caller of a turn brings and runs itself."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from app.tools.base import Tool
from app.tools.rules import Decision
from app.turns.acting import AgentTools

_ALLOWED = Decision("allow", "The caller runs it itself.")


class WithClientTools:
    """Implements `AgentTools`. Where both have a name, it means the agent's own tool."""

    def __init__(self, own: AgentTools | None, brought: Sequence[Tool]) -> None:
        self._own = own
        self._brought = {tool.spec.name: tool for tool in brought if own is None or own.find(tool.spec.name) is None}
        self.schemas: Sequence[bytes] = (
            *(own.schemas if own is not None else ()),
            *[_schema(tool) for tool in self._brought.values()],
        )

    def find(self, name: str) -> Tool | None:
        found = self._brought.get(name)
        return found if found is not None or self._own is None else self._own.find(name)

    def decide(self, name: str, arguments: dict[str, object] | None, remembered: Sequence[str]) -> Decision:
        if name in self._brought or self._own is None:
            return _ALLOWED
        return self._own.decide(name, arguments, remembered)


def _schema(tool: Tool) -> bytes:
    spec = tool.spec
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return orjson.dumps({"type": "function", "function": function})
