"""A tool under the name, with the words and of the class that the configuration gives it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.config.tool_types import TimedSection, ToolSection
from app.domain.act import ToolClass
from app.tools.base import Classifying, Probing, Tool, ToolContext, ToolOutcome, ToolResult, ToolSpec, ToolUnknown


class Configured:
    """Does what another tool does."""

    def __init__(self, tool: Tool, spec: ToolSpec) -> None:
        self._tool = tool
        self._spec = spec

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolOutcome:
        try:
            return await self._tool.run(arguments, context)
        except ToolUnknown:
            if self._spec.tool_class is ToolClass.ONCE or self._tool.spec.tool_class is not ToolClass.ONCE:
                raise
            # The tool takes itself for one that must not run again; who configured it knows better.
            return await self._tool.run(arguments, context)


class _ProbingConfigured(Configured):
    async def probe(self, key: str) -> ToolResult | None:
        assert isinstance(self._tool, Probing)
        return await self._tool.probe(key)


class _ClassifyingConfigured(Configured):
    def class_of(self, arguments: dict[str, Any]) -> ToolClass:
        assert isinstance(self._tool, Classifying)
        return self._tool.class_of(arguments)


def configured(tool: Tool, name: str, section: ToolSection) -> Tool:
    """The tool itself if the configuration changes nothing of it."""
    spec = tool.spec
    timeout = section.timeout if isinstance(section, TimedSection) else None
    return respecified(
        tool,
        replace(
            spec,
            name=name,
            description=section.description or spec.description,
            tool_class=section.tool_class or spec.tool_class,
            timeout_seconds=timeout.total_seconds() if timeout is not None else spec.timeout_seconds,
        ),
    )


def respecified(tool: Tool, spec: ToolSpec) -> Tool:
    """The tool under another description of it."""
    if spec == tool.spec:
        return tool
    if isinstance(tool, Classifying) and spec.tool_class is tool.spec.tool_class:  # else the configuration says it
        return _ClassifyingConfigured(tool, spec)
    return _ProbingConfigured(tool, spec) if isinstance(tool, Probing) else Configured(tool, spec)
