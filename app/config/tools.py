"""What agents can act with: the `tools` section. An agent lists the tools it may use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from app.config.document import Key
from app.config.near import near_name
from app.config.section import Problems, Section
from app.config.tool_types import (
    ALIASES,
    BUILT_IN,
    SECTIONS,
    CommandConfig,
    FolderConfig,
    MCPServerConfig,
    ToolConfig,
    ToolSection,
)
from app.config.units import Size

WORKSPACE = Path("workspace")
"""Where file tools work when no command does."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SERVER_NAME = re.compile(r"(?!.*__)[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_MCP = "mcp__"


class ToolsConfig(Section):
    """Settings of tools. Every key beside those below is the name of a tool; its `type` says what it is."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ToolConfig] = Field(init=False)

    parallel: int = Field(default=8, ge=1)
    """Tool calls of one step that run at once; the others wait."""
    result_inline: Size = 16 << 10
    """Largest result that a model is given whole, in bytes; of a larger one it gets the ends and a handle."""
    result_max: Size = 8 << 20
    """Bytes of a result that are kept; what is beyond is cut off."""
    mcp: dict[str, MCPServerConfig] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _is_filled_in(cls, given: object) -> object:
        """Each tool with its `type`, which its name may say; and the built-in ones without an entry."""
        if not isinstance(given, Mapping):
            return given
        found = {key: sentence for name, value in given.items() for key, sentence in _problems_of(str(name), value)}
        if found:
            raise Problems(found)
        entries = {name: value for name, value in given.items() if name not in cls.model_fields}
        scalars = {name: value for name, value in given.items() if name in cls.model_fields}
        return {**scalars, **{name: _typed(name, entries.get(name)) for name in (*BUILT_IN, *entries)}}

    @property
    def named(self) -> Mapping[str, ToolSection]:
        """Every tool by its name, also those that are switched off; without those of MCP servers."""
        return self.__pydantic_extra__

    @property
    def servers(self) -> Mapping[str, MCPServerConfig]:
        """The MCP servers that are used."""
        return {name: server for name, server in self.mcp.items() if server.enabled}

    def knows(self, pattern: str) -> bool:
        """Whether what an agent lists can be a tool: a name, a pattern, an MCP server. Which tools a server has is
        known when it runs."""
        if pattern in self.named or pattern in self.mcp:
            return True
        if pattern.startswith(_MCP):
            server, _, tool = pattern.removeprefix(_MCP).partition("__")
            return any(fnmatchcase(name, server) for name in self.mcp) and bool(tool or "*" in server)
        return "*" in pattern and any(fnmatchcase(name, pattern) for name in self.named)

    def at(self, folder: Path) -> ToolsConfig:
        """The same tools, relative folders taken from `folder` (absolute). File tools work where commands run."""
        named = {name: tool.at(folder) for name, tool in self.named.items()}
        commands = [tool for tool in named.values() if isinstance(tool, CommandConfig) and tool.runs_anything]
        workspace = commands[0].working_directory if commands else folder / WORKSPACE
        for name, tool in named.items():
            if isinstance(tool, FolderConfig) and not tool.allowed_paths:
                named[name] = tool.model_copy(update={"allowed_paths": (workspace,)})
        return self.model_copy(update=named)


def _typed(name: str, entry: Any) -> dict[str, Any]:
    return {**(entry or {}), "type": _type_of(name, entry or {})}


def _type_of(name: str, entry: Mapping[str, Any]) -> str:
    kind = str(entry.get("type") or ("python" if entry.get("python") is not None else name))
    return ALIASES.get(kind, kind)


def _problems_of(name: str, value: Any) -> Iterator[tuple[Key, str]]:
    """What is wrong with a key of the section before its tool is looked at."""
    at: Key = ("tools", name)
    if name == "mcp":
        for server in value if isinstance(value, Mapping) else ():
            if not _SERVER_NAME.fullmatch(str(server)):
                yield (*at, str(server)), "a server's name is made of letters, digits, '_' and '-', at most 32, no '__'"
    elif name in ToolsConfig.model_fields:
        return
    elif value is not None and not isinstance(value, Mapping):
        near = near_name(name, (*ToolsConfig.model_fields, *BUILT_IN))
        hint = f"; did you mean {near!r}?" if near and near != name else ""
        yield at, "must be a mapping (key: value), as the settings of a tool" + hint
    elif not _NAME.fullmatch(name):
        yield at, "a tool's name is made of letters, digits, '_' and '-', at most 64, for models take no other"
    elif (kind := _type_of(name, value or {})) not in SECTIONS:
        yield _unknown_type(at, kind, is_named="type" in (value or {}))


def _unknown_type(at: Key, kind: str, *, is_named: bool) -> tuple[Key, str]:
    near = near_name(kind, (*SECTIONS, *ALIASES))
    hint = f"did you mean {near!r}? " if near else ""
    if is_named:
        return (*at, "type"), f"there is no type {kind!r}; {hint}(types: {', '.join(SECTIONS)}, mcp)"
    return at, (
        f"is no tool that is known; {hint}say with `type` what it is ({', '.join(SECTIONS)}, mcp), or with "
        "`python: module:function` which function of your own"
    )
