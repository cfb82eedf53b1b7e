"""ClientTool: a tool that the caller of a turn runs itself. The turn waits until its next request brings the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.domain.act import ToolClass
from app.tools.base import Later, ToolContext, ToolOutcome, ToolSpec

KEPT = "client_tool"
"""In what such a call keeps, so that it is known for one, also after a restart."""


@dataclass(frozen=True, slots=True)
class ClientToolDefinition:
    """What the caller says of its tool; it also travels to the server that runs the turn.

    `parameters`: a JSON schema. `expires_seconds`: a client that has not answered by then has gone.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    expires_seconds: float


class ClientTool:
    """Implements `Tool`. Nothing happens here: the call is shown to the caller."""

    def __init__(self, definition: ClientToolDefinition) -> None:
        self.definition = definition
        self.spec = ToolSpec(
            definition.name,
            definition.description,
            definition.parameters,
            tool_class=ToolClass.IDEMPOTENT,
            source="client",
            reads="open",
        )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        context.kept = {KEPT: True}
        return Later("The caller runs it.", self.definition.expires_seconds)
