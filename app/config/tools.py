"""What agents may act upon: the `tools` section. Nothing of it is built yet."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field, model_validator

from app.config.section import Section
from app.config.units import Wait


class ExecuteCommandConfig(Section):
    """The `execute_command` tool."""

    allowed_commands: tuple[str, ...] = ()
    """Programs that may be started. Not built yet."""
    max_execution_time: Wait = timedelta(seconds=30)
    """After this a command is ended. Not built yet."""
    working_directory: Path = Path("workspace")
    """Folder in which commands run; a relative one starts at the configuration file. Not built yet."""
    require_approval: bool = False
    """Whether a person has to allow each command. Not built yet."""


class MCPServerConfig(Section):
    """One MCP server: a command to start or an address to call."""

    command: str | None = None
    """Program that speaks MCP on its standard input and output. Not built yet."""
    args: tuple[str, ...] = ()
    """Arguments of the program. Not built yet."""
    url: str | None = Field(default=None, pattern="^https?://")
    """Address of a server that speaks MCP over HTTP. Not built yet."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> MCPServerConfig:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either `command` or `url`")
        return self


class ToolsConfig(Section):
    """Settings of tools; an agent lists the ones it may use."""

    execute_command: ExecuteCommandConfig = Field(default_factory=ExecuteCommandConfig)
    mcp: dict[str, MCPServerConfig] = Field(default_factory=dict)

    def at(self, folder: Path) -> ToolsConfig:
        """The same tools, relative folders taken from `folder` (absolute)."""
        workspace = folder / self.execute_command.working_directory.expanduser()
        command = self.execute_command.model_copy(update={"working_directory": workspace})
        return self.model_copy(update={"execute_command": command})
