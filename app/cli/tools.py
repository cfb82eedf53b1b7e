"""hector tools, rules test: what agents can do, and what would become of a call. Both read the configuration only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.connection import read_config
from app.cli.failures import CommandFailed, ExitCode
from app.cli.run import complain, print_json
from app.cli.tables import print_rows
from app.config.agent import AgentConfig
from app.config.document import Key
from app.config.load import LoadedConfig
from app.config.near import near_name
from app.tools.agent_tools import AgentTools
from app.tools.arguments import BadArguments, parse
from app.tools.base import Tool, ToolContext, ToolOutcome, ToolResult
from app.tools.catalog import Catalog, build_catalog
from app.tools.ports import AgentCall, Ports
from app.tools.rule_entry import parse_entry
from app.tools.rules import Decision
from app.tools.search import Hit

SERVER_SECONDS = 15.0
"""How long to wait for an MCP server, which may have to fetch what it needs before it starts."""
_LOOK_SECONDS = 0.05

_LISTS = ("deny", "ask", "allow")


@dataclass(frozen=True, slots=True)
class _Agent:
    name: str
    config: AgentConfig


async def tools(config: Path | None, agent: str | None, *, as_json: bool) -> ExitCode:
    """List the tools of each agent, or of one. MCP servers are started, or called, to ask what they have."""
    loaded = read_config(config, tries_tools=True)
    agents = _agents(loaded, agent)
    catalog = build_catalog(loaded.config, _NO_SERVER)
    await catalog.open()
    try:
        await _wait_for_servers(catalog)
        found = {
            "agents": [{"agent": one.name, "tools": _tools_of(loaded, catalog, one)} for one in agents],
            "servers": [_server(catalog, name) for name in loaded.config.tools.servers],
            "broken": [{"tool": name, "why": why} for name, why in {**catalog.broken, **catalog.unconfined}.items()],
        }
    finally:
        await catalog.close()
    if as_json:
        print_json(found)
    else:
        _print_tools(found)
    return ExitCode.OK


async def test_rule(config: Path | None, agent: str, tool: str, arguments: str, *, as_json: bool) -> ExitCode:
    """Say what would happen to a call, and by which line. Nothing is carried out."""
    loaded = read_config(config, tries_tools=True)
    [one] = _agents(loaded, agent)
    catalog = build_catalog(loaded.config, _NO_SERVER)
    try:
        if tool.startswith("mcp__"):
            await catalog.open()
            await _wait_for_servers(catalog)
        found = _tried(loaded, catalog, one, tool, arguments)
    finally:
        await catalog.close()
    if as_json:
        print_json(found)
    else:
        print(f"{found['verdict']}: {found['why']}")
        if found["line"] is not None:
            print(found["line"])
    return ExitCode.OK


# -- looking ------------------------------------------------------------------------------------------------------


async def _wait_for_servers(catalog: Catalog) -> None:
    """Until each MCP server is connected or has failed."""
    for _ in range(int(SERVER_SECONDS / _LOOK_SECONDS)):
        if all(server.state != "connecting" for server in catalog.servers):
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _agents(loaded: LoadedConfig, name: str | None) -> list[_Agent]:
    agents = loaded.config.agents
    if name is None:
        return [_Agent(key, agent) for key, agent in agents.items()]
    if name not in agents:
        raise _unknown("agent", name, list(agents))
    return [_Agent(name, agents[name])]


def _unknown(noun: str, name: str, known: list[str]) -> CommandFailed:
    near = near_name(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    sentence = f"There is no {noun} {name!r}; {hint}({noun}s: {', '.join(known) or 'none'})"
    return CommandFailed(sentence, code=ExitCode.NOT_FOUND, reason=f"{noun}_not_found")


def _tools_of(loaded: LoadedConfig, catalog: Catalog, agent: _Agent) -> list[dict[str, Any]]:
    tools = catalog.for_agent(agent)
    return [] if tools is None else [_about(loaded, agent, tools, tool) for tool in tools.tools.values()]


def _about(loaded: LoadedConfig, agent: _Agent, tools: AgentTools, tool: Tool) -> dict[str, Any]:
    spec = tool.spec
    decision = tools.decide(spec.name, {})
    return {
        "tool": spec.name,
        "from": spec.source,
        "class": spec.tool_class.value,
        "description": spec.description,
        "verdict": decision.verdict,
        "line": _line(loaded, agent, spec.name, decision),
        "further": _further(agent, tools, spec.name),
    }


def _further(agent: _Agent, tools: AgentTools, name: str) -> list[dict[str, str]]:
    """The lines that are about some calls of a tool only."""
    lines = [(kind, line) for kind in _LISTS for line in getattr(agent.config.permissions, kind)]
    found = [{"verdict": kind, "rule": line} for kind, line in lines if _is_about_some(line, name)]
    required = tools.require_approval(name)
    return found + [{"verdict": "ask", "rule": pattern} for pattern in (() if isinstance(required, bool) else required)]


def _is_about_some(line: str, tool: str) -> bool:
    entry = parse_entry(line)
    return entry.tool.fullmatch(tool) is not None and bool(entry.globs or entry.exact is not None)


def _tried(loaded: LoadedConfig, catalog: Catalog, agent: _Agent, name: str, text: str) -> dict[str, Any]:
    tools = catalog.for_agent(agent)
    tool = tools.find(name) if tools is not None else None
    if tools is None or tool is None:
        known = list(tools.tools) if tools is not None else []
        if (why := _why_broken(catalog, name)) is not None:
            raise CommandFailed(why, code=ExitCode.UNREACHABLE, reason="tool_broken")
        raise _unknown("tool", name, known)
    arguments: Mapping[str, Any] | None
    try:
        arguments, mistake = parse(text, tool.spec.parameters), None
    except BadArguments as error:
        arguments, mistake = None, str(error)
    if mistake is not None:
        return {"verdict": "refused", "why": f"{mistake} The model is told so; no rule is asked.", "line": None}
    decision = tools.decide(name, arguments)
    line = _line(loaded, agent, name, decision)
    return {"verdict": decision.verdict, "why": decision.why, "line": line}


def _why_broken(catalog: Catalog, name: str) -> str | None:
    if name in catalog.broken:
        return f"The tool {name!r} cannot be used: {catalog.broken[name]}"
    servers = [status for status in catalog.servers if name.startswith(f"mcp__{status.name}__")]
    return next((status.why for status in servers if status.state != "connected" and status.why), None)


def _line(loaded: LoadedConfig, agent: _Agent, tool: str, decision: Decision) -> str | None:
    """Where the file says it; `None`: it does not, so the default holds."""
    key = _key_of(loaded, agent, tool, decision)
    return None if key is None else loaded.where(key)


def _key_of(loaded: LoadedConfig, agent: _Agent, tool: str, decision: Decision) -> Key | None:
    at: Key = ("agents", agent.name, "permissions")
    if decision.rule is None:
        return (*at, "default") if "default" in agent.config.permissions.model_fields_set else None
    for kind in _LISTS:
        lines = getattr(agent.config.permissions, kind)
        if decision.rule in lines:
            return (*at, kind, lines.index(decision.rule))
    server = next((name for name in loaded.config.tools.servers if tool.startswith(f"mcp__{name}__")), None)
    section: Key = ("tools", tool) if server is None else ("tools", "mcp", server)
    return (*section, "require_approval")


def _server(catalog: Catalog, name: str) -> dict[str, Any]:
    status = next(status for status in catalog.servers if status.name == name)
    return {
        "server": name,
        "state": status.state,
        "tools": status.tools,
        "why": status.why,
        "left_out": list(status.left_out),
    }


# -- telling ------------------------------------------------------------------------------------------------------


def _print_tools(found: dict[str, Any]) -> None:
    rows = [_row(agent["agent"], tool) for agent in found["agents"] for tool in agent["tools"]]
    if rows:
        print_rows(("agent", "tool", "from", "class", "calls"), rows)
    for broken in found["broken"]:
        complain(f"tool {broken['tool']}: {broken['why']}")
    for server in found["servers"]:
        if server["state"] != "connected":
            complain(server["why"] or f"MCP server {server['server']!r} has not answered yet")
        for reason in server["left_out"]:
            complain(f"MCP server {server['server']!r}: left out: {reason}")


def _row(agent: str, tool: dict[str, Any]) -> list[str]:
    place = f" ({tool['line']})" if tool["line"] is not None else ""
    further = "".join([f"; {one['verdict']}: {one['rule']}" for one in tool["further"]])
    return [agent, tool["tool"], tool["from"], tool["class"], f"{tool['verdict']}{place}{further}"]


# -- in place of a server -----------------------------------------------------------------------------------------


async def _nothing(_query: str, _stores: Sequence[str], _limit: int, _context: ToolContext) -> Sequence[Hit]:
    return ()


async def _no_result(_session: str, _handle: str) -> str | None:
    return None


async def _no_answer(_call: AgentCall, _context: ToolContext) -> ToolOutcome:
    return ToolResult("")


_NO_SERVER = Ports(find=_nothing, read_whole=_no_result, call_agent=_no_answer)
