"""Going on: at a limit (`on_limit: ask`) the server itself proposes a call that a person has to approve."""

from __future__ import annotations

from typing import Any

import orjson

from app.domain.act import Act, ToolClass
from app.llm.base import ToolCall
from app.tools.base import ToolContext, ToolResult, ToolSpec
from app.tools.rules import Decision

GO_ON = "go_on"
"""The name of the call."""


class GoOn:
    """Does nothing: that it was approved is all."""

    spec = ToolSpec(
        GO_ON,
        "Go on beyond a limit.",
        {"type": "object", "properties": {"budget": {"type": "string"}, "limit": {"type": "number"}}},
        ToolClass.READ,
    )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        return ToolResult("A person allowed you to go on.", shown="Goes on.")


def call_for(budget: str, used: float, limit: float) -> ToolCall:
    """The call that asks whether the turn may use as much again."""
    arguments = {"budget": budget, "used": round(used, 6), "limit": limit}
    return ToolCall("", GO_ON, orjson.dumps(arguments).decode())


def decision_for(arguments: dict[str, object] | None) -> Decision:
    budget = (arguments or {}).get("budget", "a limit")
    return Decision("ask", f"The turn has used up its limit ({budget}). May it go on?", "on_limit: ask")


def budget_of(act: Act) -> str:
    return str(orjson.loads(act.arguments).get("budget", ""))
