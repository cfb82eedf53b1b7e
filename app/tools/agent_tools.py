"""AgentTools: the tools of one agent as a turn uses them: what the model is told, what a name means, what may run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.tools.base import Tool
from app.tools.rules import Decision, Rules


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool that an agent has. `require_approval` is what the tool's own section says."""

    tool: Tool
    require_approval: bool | tuple[str, ...] = False


class AgentTools:
    """Immutable but for what it remembers of the last answers; a new one is made when a tool changes."""

    def __init__(
        self, offered: Sequence[Offered], rules: Rules, find_awaited: Callable[[str], Tool | None] = lambda _name: None
    ) -> None:
        """`find_awaited` gives a stand-in for a tool of the agent that nobody knows yet, because its MCP server is not
        connected: a call that was begun before a restart goes on with it."""
        self._find_awaited = find_awaited
        self._offered = {one.tool.spec.name: one for one in offered}
        self.rules = rules
        self.schemas: tuple[bytes, ...] = tuple(_schema(one.tool) for one in self._offered.values())
        """What the model is told of each, ready JSON objects, in an order that only the configuration changes."""
        self._with_answers: tuple[tuple[str, ...], Rules] = ((), rules)

    @property
    def tools(self) -> Mapping[str, Tool]:
        return {name: one.tool for name, one in self._offered.items()}

    def find(self, name: str) -> Tool | None:
        found = self._offered.get(name)
        return found.tool if found is not None else self._find_awaited(name)

    def decide(self, name: str, arguments: Mapping[str, Any] | None, remembered: Sequence[str] = ()) -> Decision:
        """What the rules say of a call. `arguments` is `None` where they cannot be read; `remembered`: the rules that
        answers of people made.

        Raises:
            RuleError: one of `remembered` cannot be read.
        """
        return self._rules_with(tuple(remembered)).decide(name, arguments, self.require_approval(name))

    def require_approval(self, name: str) -> bool | tuple[str, ...]:
        """What the section of a tool says."""
        offered = self._offered.get(name)
        if offered is None:
            return self._find_awaited(name) is not None  # nobody knows yet what its section says of it
        return offered.require_approval

    def _rules_with(self, remembered: tuple[str, ...]) -> Rules:
        known, rules = self._with_answers
        if remembered != known:
            rules = self.rules
            for entry in remembered:
                rules = rules.remember(entry)
            self._with_answers = (remembered, rules)
        return rules


def _schema(tool: Tool) -> bytes:
    spec = tool.spec
    function = {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
    return orjson.dumps({"type": "function", "function": function})
