"""A tool under the name, with the words and of the class that the configuration gives it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.config.tool_types import TimedSection, ToolSection
from app.domain.act import ToolClass
from app.tools.base import Classifying, Tool, ToolContext, ToolOutcome, ToolSpec


class Configured:
    """Does what another tool does."""

    def __init__(self, tool: Tool, spec: ToolSpec) -> None:
        self._tool = tool
        self._spec = spec

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        return await self._tool.run(arguments, context)


class _ConfiguredClassifying(Configured):
    def class_of(self, arguments: dict[str, Any]) -> ToolClass:
        assert isinstance(self._tool, Classifying)
        return self._tool.class_of(arguments)


def configured(tool: Tool, name: str, section: ToolSection) -> Tool:
    """The tool itself if the configuration changes nothing of it. A class that it gives holds for every call."""
    timeout = section.timeout if isinstance(section, TimedSection) else None
    spec = replace(
        tool.spec,
        name=name,
        description=section.description or tool.spec.description,
        tool_class=section.tool_class or tool.spec.tool_class,
        timeout_seconds=timeout.total_seconds() if timeout is not None else tool.spec.timeout_seconds,
        reads=section.reads or tool.spec.reads,
        sends=section.sends or tool.spec.sends,
        secrecy=section.secrecy or tool.spec.secrecy,
    )
    is_classifying = isinstance(tool, Classifying)
    if spec == tool.spec and not (is_classifying and section.tool_class):
        return tool
    return _ConfiguredClassifying(tool, spec) if is_classifying and not section.tool_class else Configured(tool, spec)
