"""Tools made from their sections of the configuration.

What commands, HTTP requests and functions are made of is imported where the first one is made: half of this room, which
no start should load that has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from app.config.agent import AgentConfig
from app.config.root import Config
from app.config.tool_types import (
    AgentCallConfig,
    BuiltInConfig,
    CommandConfig,
    FileConfig,
    FolderConfig,
    HttpConfig,
    PythonConfig,
    SearchConfig,
    ToolSection,
)
from app.config.tools import WORKSPACE
from app.domain.act import ToolClass
from app.tools.agent_call import AgentCall
from app.tools.ask_user import AskUser
from app.tools.base import Tool, ToolContext
from app.tools.configured import configured
from app.tools.files import ListFiles, ReadFile, SearchReplace, WriteFile
from app.tools.ports import Ports
from app.tools.read_result import ReadResult
from app.tools.search import Find, Hit, Search
from app.tools.todos import TodoWrite
from app.tools.workspace import Workspace

if TYPE_CHECKING:
    from app.tools.command import ExecuteCommand
    from app.tools.sandbox import Sandbox

ForAgent = Callable[[str, AgentConfig, Mapping[str, AgentConfig]], Tool | None]
"""Agent, its section, all agents → its tool; `None`: this agent cannot have it."""

FUNCTION_TIMEOUT = timedelta(seconds=60)
"""How long a function may take where its section does not say."""
_HANDLE_ROOM = 1024
"""Bytes of a piece of a result that are left for what is written around it."""


@dataclass(frozen=True, slots=True)
class Built:
    """A tool of the configuration. Most are the same for every agent."""

    section: ToolSection
    for_agent: ForAgent
    sandbox: Sandbox | None = None
    """What its commands run in."""


def build_tool(name: str, section: ToolSection, config: Config, ports: Ports) -> Built:
    """Raises ToolLoadError, ValueError: it cannot be made, in a sentence that says why."""
    match section:
        case FolderConfig():
            return _same(name, section, _file_tool(section, config))
        case PythonConfig():
            function = _function(name, section, config)  # with name, class and limit of its section
            return Built(section, lambda _agent, _config, _agents: function)
        case AgentCallConfig():
            return Built(section, _agent_call(name, section, ports))
        case SearchConfig():
            return Built(section, _search(name, section, config, ports))
        case BuiltInConfig(type="todo_write"):
            return _same(name, section, TodoWrite())
        case BuiltInConfig(type="ask_user"):
            return _same(name, section, AskUser())
        case BuiltInConfig():
            return _read_result(name, section, config, ports)
        case CommandConfig():
            command = _command(section, config)
            return replace(_same(name, section, command), sandbox=command.sandbox)
        case HttpConfig():
            return _same(name, section, _http(section))
    raise AssertionError(f"there is no tool of this section: {type(section).__name__}")


def _same(name: str, section: ToolSection, tool: Tool | None) -> Built:
    """`None`: no agent has it."""
    made = configured(tool, name, section) if tool is not None else None
    return Built(section, lambda _agent, _config, _agents: made)


def _file_tool(section: FolderConfig, config: Config) -> Tool:
    allowed = section.allowed_paths or (config.folder / WORKSPACE,)
    root = _root_of(allowed)
    if not isinstance(section, FileConfig):
        return ListFiles(
            Workspace(
                root,
                allowed_paths=allowed,
                denied_paths=section.denied_paths,
                protected=config.own_files,
            )
        )
    workspace = Workspace(
        root,
        allowed_paths=allowed,
        denied_paths=section.denied_paths,
        allowed_extensions=section.allowed_extensions,
        forbidden_extensions=section.forbidden_extensions,
        protected=config.own_files,
        max_file_size=section.max_file_size,
    )
    match section.type:
        case "write_file":
            return WriteFile(workspace)
        case "read_file":
            return ReadFile(workspace)
        case "search_replace":
            return SearchReplace(workspace)


def _command(section: CommandConfig, config: Config) -> ExecuteCommand:
    from app.tools.command import ExecuteCommand

    return ExecuteCommand(
        section.working_directory,
        allowed_commands=() if "*" in section.allowed_commands else section.allowed_commands,
        denied_commands=section.denied_commands,
        max_execution_time=section.max_execution_time.total_seconds(),
        max_output=section.max_output,
        shell=section.shell,
        sandbox=section.sandbox,
        network=section.network,
        environment=_revealed(section.env),
        readable=section.readable_paths,
        writable=section.writable_paths,
        protected=config.own_files,
        max_memory=section.max_memory,
        max_processes=section.max_processes,
        max_file_size=section.max_file_size,
    )


def _http(section: HttpConfig) -> Tool:
    from app.tools.http_request import HttpRequest

    return HttpRequest(
        allowed_hosts=section.allowed_hosts,
        allow_private=section.allow_private,
        headers=_revealed(section.headers),
        timeout_seconds=section.timeout.total_seconds(),
        max_bytes=section.max_bytes,
    )


def _revealed(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in secrets.items()}


def _function(name: str, section: PythonConfig, config: Config) -> Tool:
    from app.tools.python_function import load

    return load(
        section.python,
        config.folder,
        name=name,
        tool_class=section.tool_class or ToolClass.ONCE,
        deferred=section.deferred,
        timeout_seconds=(section.timeout or FUNCTION_TIMEOUT).total_seconds(),
        description=section.description,
        reads=section.reads or "fixed",
        sends=section.sends or "fixed",
        secrecy=section.secrecy,
    )


def _root_of(allowed: tuple[Path, ...]) -> Path:
    """Where relative paths start: the first allowed folder."""
    first = allowed[0]
    return first.parent if first.is_file() else first


def _read_result(name: str, section: ToolSection, config: Config, ports: Ports) -> Built:
    if ports.read_whole is None:
        return _same(name, section, None)
    room = max(config.tools.result_inline - _HANDLE_ROOM, config.tools.result_inline // 2)
    return _same(name, section, ReadResult(ports.read_whole, max_bytes=room))


def _agent_call(name: str, section: AgentCallConfig, ports: Ports) -> ForAgent:
    call_agent = ports.call_agent

    def make(agent: str, config: AgentConfig, agents: Mapping[str, AgentConfig]) -> Tool | None:
        callees = callees_of(agent, config, agents)
        if call_agent is None or not callees:
            return None
        return configured(AgentCall(call_agent, callees, max_depth=section.max_depth), name, section)

    return make


def _search(name: str, section: SearchConfig, config: Config, ports: Ports) -> ForAgent:
    find = ports.find

    def make(_agent: str, agent: AgentConfig, _agents: Mapping[str, AgentConfig]) -> Tool | None:
        if find is None:
            return None
        stores = stores_of(section, agent, list(config.document_stores))
        limits = {"default_limit": section.default_limit, "max_limit": section.max_limit}
        return configured(Search(_within(find, stores), stores=stores, **limits), name, section)

    return make


def stores_of(section: SearchConfig, agent: AgentConfig, known: Sequence[str]) -> list[str]:
    """The document stores that an agent's search sees: those of the tool that are also the agent's."""
    allowed = [said for said in (section.document_stores, agent.document_stores) if said is not None]
    return [store for store in known if all(store in said for said in allowed)]


def _within(find: Find, stores: Sequence[str]) -> Find:
    """Looks in these stores only, and in all of them where the model names none."""

    async def look(query: str, named: Sequence[str], limit: int, context: ToolContext) -> Sequence[Hit]:
        return await find(query, [store for store in stores if not named or store in named], limit, context)

    return look


def callees_of(agent: str, config: AgentConfig, agents: Mapping[str, AgentConfig]) -> dict[str, str]:
    """The agents that an agent may call, with what each is for."""
    names = config.sub_agents if config.sub_agents is not None else [name for name in agents if name != agent]
    return {
        name: agents[name].description or agents[name].name or name
        for name in names
        if name in agents and name != agent
    }
