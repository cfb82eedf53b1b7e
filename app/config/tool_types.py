"""What may be said of one tool: a section for each type, and which types there are."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from app.config.section import Section
from app.config.units import EntryName, Size, Wait
from app.domain.act import ToolClass
from app.domain.label import Reach, Secrecy

ToolType = Literal[
    "write_file",
    "read_file",
    "list_files",
    "search_replace",
    "execute_command",
    "search",
    "todo_write",
    "http_request",
    "agent_call",
    "ask_user",
    "read_result",
    "python",
]

ALIASES = {"command": "execute_command", "todo": "todo_write"}
"""What Hector v1 called them."""

BUILT_IN: tuple[str, ...] = tuple(kind for kind in get_args(ToolType) if kind != "python")
"""Tools that an agent may list without an entry under `tools`."""


def _read_approval(said: object) -> object:
    if isinstance(said, str) and said.lower() in ("true", "false"):
        return said.lower() == "true"
    if isinstance(said, bool) or (isinstance(said, list | tuple) and all(isinstance(one, str) for one in said)):
        return said
    raise ValueError("must be true, false or a list of texts")


Approval = Annotated[bool | tuple[str, ...], BeforeValidator(_read_approval)]


class ToolSection(Section):
    """What every tool has."""

    enabled: bool = True
    """Whether the tool is there; false: no agent has it, also one that lists it."""
    description: str | None = None
    """What the model is told of the tool; null: its own words."""
    tool_class: ToolClass | None = Field(default=None, alias="class")
    """Whether a call may run again after a crash left its outcome open; null: the tool's own class."""
    require_approval: Approval = False
    """Whether a person allows each call first; or rules, such as `path=*.env`, for the calls that need it."""
    reads: Reach | None = None
    """What of others it brings in: `none`, `fixed` (known places), `open` (anybody's text); null: by its type."""
    sends: Reach | None = None
    """Where what it is given may go: `none`, `fixed` (known places), `open` (anywhere); null: by its type."""
    secrecy: Secrecy | None = None
    """Whether its results are `private` or `public`; null: private where it reads `fixed`."""

    def at(self, _folder: Path) -> ToolSection:
        """The same tool, relative paths taken from a folder (absolute)."""
        return self


class TimedSection(ToolSection):
    timeout: Wait | None = None
    """After this a call is stopped and has failed; null: 60s for a function, else the tool's own limits."""


class BuiltInConfig(TimedSection):
    """A tool of which nothing else can be said."""

    type: Literal["todo_write", "ask_user", "read_result"]
    """What the tool is; left out: its name says so."""


class FolderConfig(TimedSection):
    """A tool that sees folders."""

    type: Literal["list_files"]
    """What the tool is; left out: its name says so."""
    allowed_paths: tuple[Path, ...] = ()
    """Folders it may work in, the first for relative paths; left out: where commands run, else `workspace`."""
    denied_paths: tuple[Path, ...] = ()
    """Files and folders in there that it may not touch."""

    def at(self, folder: Path) -> FolderConfig:
        allowed = tuple(folder / path.expanduser() for path in self.allowed_paths)
        denied = tuple(folder / path.expanduser() for path in self.denied_paths)
        return self.model_copy(update={"allowed_paths": allowed, "denied_paths": denied})


def _with_dot(extension: str) -> str:
    if not re.fullmatch(r"\.?[^./\\*?\s]+(\.[^./\\*?\s]+)*", extension):
        raise ValueError("must be an extension such as .md")
    return f".{extension.removeprefix('.').lower()}"


Extension = Annotated[str, AfterValidator(_with_dot)]


class FileConfig(FolderConfig):
    """A tool that reads or writes files."""

    type: Literal["write_file", "read_file", "search_replace"]  # type: ignore[assignment]
    """What the tool is; left out: its name says so."""
    max_file_size: Size = 1 << 20
    """Largest file that it reads or writes, in bytes, inclusive."""
    allowed_extensions: tuple[Extension, ...] = ()
    """The only extensions that files may have, such as `.md`; empty: any."""
    forbidden_extensions: tuple[Extension, ...] = ()
    """Extensions that files may not have."""


def _splits_into_words(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        raise ValueError("has a quote that is not closed") from None
    if not words:
        raise ValueError("must name a program")
    return command


Beginning = Annotated[str, AfterValidator(_splits_into_words)]


class CommandConfig(ToolSection):
    """A tool that starts programs."""

    type: Literal["execute_command"]
    """What the tool is; left out: its name says so."""
    allowed_commands: tuple[Beginning, ...] = ()
    """Programs, or beginnings of commands such as `git status`, that may be run; `*`: any. An agent needs one."""
    denied_commands: tuple[Beginning, ...] = ()
    """Beginnings of commands that may not be run, whatever is allowed."""
    working_directory: Path = Path("workspace")
    """Folder in which commands run, and which they may change; it is made when it is missing."""
    max_execution_time: Wait = timedelta(seconds=30)
    """After this a command is ended with all that it started."""
    shell: bool = False
    """Whether a shell reads the command, which then may run anything; otherwise it is split into words only."""
    sandbox: Literal["auto", "bwrap", "landlock", "none", "required"] = "auto"
    """What fences commands in: the one named, `auto` the strongest there is, `required` the same but never `none`."""
    network: bool = False
    """Whether commands reach the network; can be refused to them under `bwrap` and `landlock`."""
    max_output: Size = 1 << 20
    """Bytes of output that are kept; what is beyond is read and dropped."""
    max_memory: Size = 2 << 30
    """Memory that a command may have, with all that it started, in bytes."""
    max_processes: int = Field(default=64, ge=1)
    """Processes that a command may have at once."""
    max_file_size: Size = 100 << 20
    """Largest file that a command may write, in bytes."""
    env: dict[str, SecretStr] = Field(default_factory=dict)
    """Environment variables of commands, beside PATH, HOME, LANG, TERM and TMPDIR."""
    readable_paths: tuple[Path, ...] = ()
    """Further files and folders that commands may read, such as the folder of a program's packages."""
    writable_paths: tuple[Path, ...] = ()
    """Further files and folders that commands may change."""

    @model_validator(mode="after")
    def _has_rules_that_hold(self) -> CommandConfig:
        if self.shell and (self.allowed_commands or self.denied_commands):
            raise ValueError(
                "with `shell` any command may be run: remove allowed_commands and denied_commands, or shell"
            )
        return self

    @property
    def runs_anything(self) -> bool:
        """Whether the file says which commands may be run; without a word of it none may."""
        return self.shell or bool(self.allowed_commands)

    def at(self, folder: Path) -> CommandConfig:
        return self.model_copy(
            update={
                "working_directory": folder / self.working_directory.expanduser(),
                "readable_paths": tuple(folder / path.expanduser() for path in self.readable_paths),
                "writable_paths": tuple(folder / path.expanduser() for path in self.writable_paths),
            }
        )


class SearchConfig(TimedSection):
    """A tool that searches documents and memories."""

    type: Literal["search"]
    """What the tool is; left out: its name says so."""
    document_stores: tuple[EntryName, ...] | None = None
    """Document stores that it looks into; null: those of the agent."""
    default_limit: int = Field(default=5, ge=1, le=100)
    """Hits where the model does not say how many."""
    max_limit: int = Field(default=20, ge=1, le=100)
    """Most hits that the model gets, whatever it asks for."""


def _is_a_network(network: str) -> str:
    try:
        ipaddress.ip_network(network, strict=False)
    except ValueError:
        raise ValueError("must be an IP address, or a network such as 10.1.0.0/16") from None
    return network


Network = Annotated[str, AfterValidator(_is_a_network)]


class HttpConfig(ToolSection):
    """A tool that sends HTTP requests."""

    type: Literal["http_request"]
    """What the tool is; left out: its name says so."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that may be asked, such as `*.example.com`. An agent may list the tool only if there is one."""
    allow_private: tuple[Network, ...] = ()
    """Private networks that these hosts may be in, such as `127.0.0.0/8`; others are refused."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Headers of every request, such as Authorization; the model neither sees nor changes them."""
    timeout: Wait = timedelta(seconds=30)
    """How long a request may take, redirects included."""
    max_bytes: Size = 1 << 20
    """Bytes of a request, and of an answer."""


class AgentCallConfig(TimedSection):
    """The tool by which an agent calls its `sub_agents`."""

    type: Literal["agent_call"]
    """What the tool is; left out: its name says so."""
    max_depth: int = Field(default=3, ge=1, le=10)
    """How many agents may call one another in a row."""


def _refers_to_a_function(reference: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", reference):
        raise ValueError("must look like module:function")
    return reference


Reference = Annotated[str, AfterValidator(_refers_to_a_function)]


class PythonConfig(TimedSection):
    """A function of one's own."""

    type: Literal["python"]
    """What the tool is, such as `write_file` or `python`; left out: its name says so, or `python` stands beside it."""
    python: Reference
    """The function, as `module:function`; modules beside the configuration file are found."""
    deferred: bool = False
    """Whether the outcome comes later, posted to the address that the function gets."""


ToolConfig = Annotated[
    FileConfig
    | FolderConfig
    | CommandConfig
    | SearchConfig
    | HttpConfig
    | AgentCallConfig
    | BuiltInConfig
    | PythonConfig,
    Field(discriminator="type"),
]

SECTIONS: Mapping[str, type[ToolSection]] = {
    kind: section
    for section in get_args(get_args(ToolConfig)[0])
    for kind in get_args(section.model_fields["type"].annotation)
}
"""Type → what may be said of a tool of this type."""


class MCPServerConfig(Section):
    """One MCP server: a command to start or an address to call."""

    enabled: bool = True
    """Whether the server is used; false: no agent has its tools."""
    command: str | None = None
    """Program that speaks MCP on its standard input and output."""
    args: tuple[str, ...] = ()
    """Arguments of the program."""
    env: dict[str, SecretStr] = Field(default_factory=dict)
    """Environment variables of the program, beside PATH, HOME and the like."""
    url: str | None = Field(default=None, pattern="^https?://")
    """Address of a server that speaks MCP over HTTP."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Headers of every request to it, such as Authorization."""
    include: tuple[str, ...] = ()
    """The only tools that are taken, by name or pattern such as `get_*`; empty: all."""
    exclude: tuple[str, ...] = ()
    """Tools that are left out, by name or pattern."""
    classes: dict[str, ToolClass] = Field(default_factory=dict)
    """Class of tools by name or pattern, instead of the one their hints say: `read`, `idempotent` or `once`."""
    reads: dict[str, Reach] = Field(default_factory=dict)
    """What tools bring in, by name or pattern: `none`, `fixed`, `open`; else `open`, or `fixed` where hints say so."""
    sends: dict[str, Reach] = Field(default_factory=dict)
    """Where what tools are given may go, likewise."""
    require_approval: Approval = False
    """Whether a person allows each call first; or names and patterns of the tools that need it."""
    timeout: Wait = timedelta(seconds=60)
    """How long a call may take without a word of the server."""

    @model_validator(mode="before")
    @classmethod
    def _has_one_address(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "server_url" not in given:
            return given
        if given.get("url") is not None:
            raise ValueError("`server_url` is what v1 called `url`; remove it")
        return {**{key: value for key, value in given.items() if key != "server_url"}, "url": given["server_url"]}

    @model_validator(mode="after")
    def _is_one_of_two(self) -> MCPServerConfig:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either `command` or `url`")
        if self.command is not None and self.headers:
            raise ValueError("`headers` belong to a server with a `url`")
        if self.url is not None and (self.args or self.env):
            raise ValueError("`args` and `env` belong to a server with a `command`")
        return self
