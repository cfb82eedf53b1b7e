"""Whether agents can have what they list: tools, document stores, other agents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from app.config.document import Key
from app.config.near import near_name
from app.config.tool_types import CommandConfig, HttpConfig

if TYPE_CHECKING:
    from app.config.agent import AgentConfig
    from app.config.root import Config

Problem = tuple[Key, str]

_LINES = {
    "allowed_commands": "\n    tools:\n      {name}:\n        allowed_commands: [ls, cat, python3]",
    "allowed_hosts": "\n    tools:\n      {name}:\n        allowed_hosts: [api.example.com]",
}


def find_problems(config: Config) -> Iterator[Problem]:
    """Key and sentence of each thing that an agent lists and cannot have."""
    for name, agent in config.agents.items():
        at: Key = ("agents", name)
        yield from _tool_problems(config, at, agent)
        for number, store in enumerate(agent.document_stores or ()):
            if store not in config.document_stores:
                yield (*at, "document_stores", number), _missing("document store", store, config.document_stores)
        for number, other in enumerate(agent.sub_agents or ()):
            if other not in config.agents:
                yield (*at, "sub_agents", number), _missing("agent", other, config.agents)
            elif path := _way_back(config, other, name):
                way = " calls ".join((name, *path))
                yield (*at, "sub_agents", number), f"agents may not call one another in a circle: {way}"
        if agent.reasoning.engine == "supervisor" and (agent.sub_agents == () or len(config.agents) < 2):
            yield (*at, "reasoning", "engine"), "a supervisor needs other agents; name those it may call in sub_agents"
    for name in config.tools.mcp:
        if name in config.tools.named:
            yield ("tools", "mcp", name), "a tool is called so, too: give the server another name"
    for name, tool in config.tools.named.items():
        for number, store in enumerate(getattr(tool, "document_stores", None) or ()):
            if store not in config.document_stores:
                place: Key = ("tools", name, "document_stores", number)
                yield place, _missing("document store", store, config.document_stores)


def _tool_problems(config: Config, at: Key, agent: AgentConfig) -> Iterator[Problem]:
    for number, name in enumerate(agent.tools):
        place = (*at, "tools", number)
        tool = config.tools.named.get(name)
        if not config.tools.knows(name):
            known = (*config.tools.named, *config.tools.mcp)
            yield place, _missing("tool", name, known)
        elif isinstance(tool, CommandConfig) and tool.enabled and not tool.runs_anything:
            lines = _LINES["allowed_commands"].format(name=name)
            yield place, f"{name} runs no command until the file says which may be run; add these lines:{lines}"
        elif isinstance(tool, HttpConfig) and tool.enabled and not tool.allowed_hosts:
            lines = _LINES["allowed_hosts"].format(name=name)
            yield place, f"{name} asks no host until the file says which may be asked; add these lines:{lines}"


def _missing(noun: str, name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = near_name(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    return f"there is no {noun} {name!r}; {hint}({noun}s: {', '.join(known) or 'none'})"


def _way_back(config: Config, start: str, goal: str) -> tuple[str, ...]:
    """The agents from `start` to `goal` along `sub_agents`; empty if there is no way."""
    seen: set[str] = set()
    ways: list[tuple[str, ...]] = [(start,)]
    while ways:
        way = ways.pop()
        if way[-1] == goal:
            return way
        if way[-1] not in seen and way[-1] in config.agents:
            seen.add(way[-1])
            ways += [(*way, other) for other in config.agents[way[-1]].sub_agents or ()]
    return ()
