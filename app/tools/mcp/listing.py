"""What a server's `tools/list` says, made fit for models. Unfit tools are left out, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mcp import types

from app.domain.act import ToolClass
from app.domain.label import Reach
from app.tools.base import ToolSpec
from app.tools.mcp.endpoint import Choice
from app.tools.mcp.names import tool_name
from app.tools.mcp.schemas import SchemaChecks

MAX_DESCRIPTION = 4_096
"""Characters; a longer description is cut."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One tool of a server: the server's name of it, and what a model is told."""

    remote_name: str
    spec: ToolSpec


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of a server, by name, and the reasons why others were left out."""

    tools: tuple[Listed, ...] = ()
    left_out: tuple[str, ...] = ()


def listing_of(
    server: str,
    tools: Iterable[types.Tool],
    choice: Choice,
    checks: SchemaChecks,
    *,
    is_modern: bool,
    max_tools: int,
) -> Listing:
    """The tools in the order of their names, so that a request to a model is the same after every refresh."""
    kept: dict[str, Listed] = {}
    left_out: list[str] = []
    for tool in sorted(tools, key=lambda tool: tool.name):
        name = tool_name(server, tool.name)
        if not choice.takes(tool.name, name):
            continue
        if name in kept:
            reason: str | None = "the server lists this name twice"
        elif len(kept) >= max_tools:
            reason = f"more than {max_tools} tools"
        else:
            reason = _why_unfit(tool, checks, is_modern)
        if reason is None:
            kept[name] = Listed(tool.name, _spec_of(server, name, tool, choice))
        else:
            left_out.append(f"{tool.name[:MAX_DESCRIPTION]}: {reason}")
    return Listing(tuple(kept.values()), tuple(left_out))


def _why_unfit(tool: types.Tool, checks: SchemaChecks, is_modern: bool) -> str | None:
    if not tool.name:
        return "it has no name"
    if not is_modern and tool.execution is not None and tool.execution.task_support == "required":
        return "it can only be called as a task of protocol 2025-11-25, which is not supported"
    unfit = checks.why_unfit(tool.input_schema)
    return None if unfit is None else f"its schema {unfit}"


def _spec_of(server: str, name: str, tool: types.Tool, choice: Choice) -> ToolSpec:
    described = tool.description or tool.title or (tool.annotations.title if tool.annotations else None) or tool.name
    reach: Reach = "fixed" if tool.annotations is not None and tool.annotations.open_world_hint is False else "open"
    return ToolSpec(
        name=name,
        description=described[:MAX_DESCRIPTION],
        parameters=tool.input_schema,
        tool_class=choice.class_of(tool.name, name) or _class_of(tool.annotations),
        source=f"mcp:{server}",
        reads=choice.reads_of(tool.name, name) or reach,
        sends=choice.sends_of(tool.name, name) or reach,
    )


def _class_of(hints: types.ToolAnnotations | None) -> ToolClass:
    if hints is not None and hints.read_only_hint:
        return ToolClass.READ
    if hints is not None and hints.idempotent_hint:
        return ToolClass.IDEMPOTENT
    return ToolClass.ONCE
