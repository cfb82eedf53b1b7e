"""ClientTool: a tool that the caller of a turn runs itself. The turn waits until its next request brings the result."""

from __future__ import annotations

from typing import Any

from app.domain.act import ToolClass
from app.tools.base import Later, ToolContext, ToolOutcome, ToolSpec

KEPT = "client_tool"
"""In what such a call keeps, so that it is known for one, also after a restart."""


class ClientTool:
    """Implements `Tool`. Nothing happens here: the call is shown to the caller."""

    def __init__(self, name: str, description: str, parameters: dict[str, Any], *, expires_seconds: float) -> None:
        """`expires_seconds`: a client that has not answered by then has gone."""
        self._expires_seconds = expires_seconds
        self.spec = ToolSpec(
            name, description, parameters, tool_class=ToolClass.IDEMPOTENT, source="client", reads="open"
        )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        context.kept = {KEPT: True}
        return Later("The caller runs it.", self._expires_seconds)
