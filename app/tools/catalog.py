"""Catalog: all tools of the server, and which of them an agent has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Protocol

from app.config.agent import AgentConfig
from app.config.root import Config
from app.config.tool_types import CommandConfig, FolderConfig, HttpConfig, MCPServerConfig, ToolSection
from app.tools.agent_tools import AgentTools, Offered
from app.tools.base import Tool, ToolFailed
from app.tools.build import Built, build_tool
from app.tools.function_import import ToolLoadError
from app.tools.mcp.server import McpServer, McpStatus
from app.tools.ports import Ports
from app.tools.rules import Rules
from app.tools.schemas import load_validation

if TYPE_CHECKING:
    from app.tools.sandbox import Sandbox

log = logging.getLogger(__name__)

AGENT_CALL, READ_RESULT = "agent_call", "read_result"


class Agent(Protocol):
    """What the catalog needs to know of an agent."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> AgentConfig: ...


@dataclass(frozen=True, slots=True)
class _Known:
    """What was made for an agent, and what it was made of."""

    config: AgentConfig
    served: list[list[Tool]]
    tools: AgentTools | None


class Catalog:
    """`open` it before the first turn, `close` it after the last one."""

    def __init__(
        self, config: Config, built: Mapping[str, Built], broken: Mapping[str, str], servers: Mapping[str, McpServer]
    ) -> None:
        """`broken`: sentences about tools that could not be made, by name."""
        self._config = config
        self._agents: Mapping[str, AgentConfig] = config.agents
        self._built = built
        self._servers = servers
        self._known: dict[tuple[str, ...], _Known] = {}
        self.broken = broken
        self.unconfined: dict[str, str] = {}
        """Sentences about tools whose commands run without a sandbox, or not at all; filled by `open`."""

    async def open(self) -> None:
        """Begin to connect to the MCP servers, waiting for each a short while; find what sandbox there is, and say so.
        Raises nothing."""
        await asyncio.gather(self._find_sandboxes(), *[server.open() for server in self._servers.values()])

    async def _find_sandboxes(self) -> None:
        for name, built in self._built.items():
            if built.sandbox is not None:
                sentence, is_weak = await asyncio.to_thread(_confinement, built.sandbox)
                log.log(logging.WARNING if is_weak else logging.INFO, "tool %s: %s", name, sentence)
                if is_weak:
                    self.unconfined[name] = sentence

    async def close(self) -> None:
        await asyncio.gather(*[server.close() for server in self._servers.values()])

    def use_agents(self, agents: Mapping[str, AgentConfig]) -> None:
        """The configuration of the agents has changed: who may be called, and what each is for."""
        self._agents = agents
        self._known.clear()

    def drop(self, agent: str) -> None:
        """The agent is not served any more."""
        self._known = {key: known for key, known in self._known.items() if agent not in key}

    @property
    def servers(self) -> list[McpStatus]:
        """How each MCP server is doing."""
        return [server.status for server in self._servers.values()]

    def for_agent(self, agent: Agent, *, called_by: Sequence[str] = ()) -> AgentTools | None:
        """The tools that an agent has now; `None`: it has none. Cheap: made anew only when a tool has changed.

        `called_by`: the agents that called this one, the first one first; it may do nothing that one of them may not.
        """
        served = [server.tools() for server in self._servers.values()]
        key = (agent.name, *called_by)
        known = self._known.get(key)
        if known is None or known.config is not agent.config or known.served != served:
            known = self._known[key] = _Known(agent.config, served, self._make(agent, served, called_by))
        return known.tools

    def _make(self, agent: Agent, served: list[list[Tool]], called_by: Sequence[str]) -> AgentTools | None:
        offered = list(self._offered(agent.name, agent.config, served))
        if not offered and not self._awaits(agent.config):
            return None
        if offered and all(one.tool.spec.name != READ_RESULT for one in offered):
            offered += self._offer(READ_RESULT, agent.name, agent.config)
        rules = self.rules_of(agent.config)
        for caller in reversed(called_by):
            if caller in self._agents:
                rules = rules.within(self.rules_of(self._agents[caller]))
        return AgentTools(offered, rules, partial(self._find_awaited, agent.config))

    def _awaits(self, agent: AgentConfig) -> bool:
        """Whether the agent may have tools of an MCP server that is not connected yet."""
        late = [name for name, server in self._servers.items() if not server.has_listed]
        return any(
            listed in ("*", name) or listed.startswith((f"mcp__{name}__", "mcp__*"))
            for listed in agent.tools
            for name in late
        )

    def _find_awaited(self, agent: AgentConfig, name: str) -> Tool | None:
        """A stand-in for a tool that the agent may have, of an MCP server that is not connected yet."""
        for server_name, server in self._servers.items():
            tool = server.find_awaited(name)
            if tool is not None and name in names_of(agent, [name], {server_name: [name]}):
                return tool
        return None

    def rules_of(self, agent: AgentConfig) -> Rules:
        """Raises RuleError: a line cannot be read (refused at start)."""
        said = agent.permissions
        folder = folder_of(self._config, agent)
        return Rules(deny=said.deny, ask=said.ask, allow=said.allow, default=said.default, folder=folder)

    def _offered(self, agent: str, config: AgentConfig, served: list[list[Tool]]) -> Iterator[Offered]:
        servers = dict(zip(self._servers, served, strict=True))
        remote = {tool.spec.name: (server, tool) for server, tools in servers.items() for tool in tools}
        of_servers = {name: [tool.spec.name for tool in tools] for name, tools in servers.items()}
        names = names_of(config, [*self._built, *remote], of_servers)
        for name in names:
            if name in remote and name not in self._built:
                server, tool = remote[name]
                yield Offered(tool, _needs_approval(self._config.tools.mcp[server], server, tool))
            else:
                yield from self._offer(name, agent, config)

    def _offer(self, name: str, agent: str, config: AgentConfig) -> Iterator[Offered]:
        built = self._built.get(name)
        tool = built.for_agent(agent, config, self._agents) if built is not None else None
        if built is not None and tool is not None:
            yield Offered(tool, built.section.require_approval)


def build_catalog(config: Config, ports: Ports | None = None) -> Catalog:
    """All tools that the configuration has. A tool that cannot be made is left out: `Catalog.broken` says why."""
    ports = ports or Ports()
    built: dict[str, Built] = {}
    broken: dict[str, str] = {}
    for name, section in config.tools.named.items():
        if not section.enabled or _lacks_permission(section):
            continue
        try:
            built[name] = build_tool(name, section, config, ports)
        except (ToolLoadError, ValueError) as error:
            broken[name] = str(error)
    if config.has_tools:
        load_validation()  # now: the first call does not wait for it
    servers = {name: _server(name, section, config) for name, section in config.tools.servers.items()}
    return Catalog(config, built, broken, servers)


def _confinement(sandbox: Sandbox) -> tuple[str, bool]:
    """What commands run in, and whether that is nothing. Blocks."""
    from app.tools.sandbox import Level

    try:
        return sandbox.sentence, sandbox.level() is Level.NONE
    except ToolFailed as error:
        return str(error), True


def _lacks_permission(section: ToolSection) -> bool:
    """Whether the file does not say how far the tool may go; an agent that lists it is refused at start."""
    if isinstance(section, CommandConfig):
        return not section.runs_anything
    return isinstance(section, HttpConfig) and not section.allowed_hosts


def _server(name: str, section: MCPServerConfig, config: Config) -> McpServer:
    return McpServer(
        name,
        command=section.command,
        args=section.args,
        env={variable: value.get_secret_value() for variable, value in section.env.items()},
        cwd=config.folder if section.command is not None else None,
        url=section.url,
        headers={header: value.get_secret_value() for header, value in section.headers.items()},
        include=section.include,
        exclude=section.exclude,
        classes=section.classes,
        reads=section.reads,
        sends=section.sends,
        tool_timeout=section.timeout.total_seconds(),
    )


def _needs_approval(section: MCPServerConfig, server: str, tool: Tool) -> bool:
    if isinstance(section.require_approval, bool):
        return section.require_approval
    names = (tool.spec.name, tool.spec.name.removeprefix(f"mcp__{server}__"))
    return any(fnmatchcase(name, pattern) for pattern in section.require_approval for name in names)


def folder_of(config: Config, agent: AgentConfig) -> str | None:
    """Where relative paths of an agent's file tools begin, in its rules, too."""
    sections = [config.tools.named.get(name) for name in (*agent.tools, "write_file")]
    found = [section for section in sections if isinstance(section, FolderConfig) and section.allowed_paths]
    return str(found[0].allowed_paths[0]) if found else None


def names_of(agent: AgentConfig, known: Sequence[str], servers: Mapping[str, Sequence[str]]) -> list[str]:
    """The tools that an agent has, in its own order, each once. `known`: those there are; `servers`: those of each."""
    names: dict[str, None] = {}
    for listed in agent.tools:
        if listed in known:
            names[listed] = None
        elif listed in servers:
            names.update(dict.fromkeys(servers[listed]))
        else:
            names.update(dict.fromkeys(name for name in known if fnmatchcase(name, listed)))
    if agent.sub_agents or agent.reasoning.engine == "supervisor":
        names[AGENT_CALL] = None
    return list(names)
