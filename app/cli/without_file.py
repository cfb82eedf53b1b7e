"""What is served without a configuration file: by the flags of `hector serve`, else by what the machine offers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from app.config.document import Key
from app.config.dotenv import read_dotenv
from app.config.find import find_config
from app.config.llm import LLMType
from app.config.load import ConfigError, LoadedConfig, load_config
from app.config.root import Config
from app.llm.detect import Choice, Probe, choose
from app.llm.presets import PRESETS


@dataclass(frozen=True, slots=True)
class QuickFlags:
    """Flags that take the place of a file. None and False: not given."""

    provider: str | None = None
    model: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    tools: bool = False
    mcp_url: str | None = None
    docs: str | None = None

    @property
    def are_given(self) -> bool:
        return any((self.names_a_model, self.tools, self.mcp_url, self.docs))

    @property
    def names_a_model(self) -> bool:
        return any((self.provider, self.model, self.api_key, self.base_url))


NO_FLAGS = QuickFlags()

USUAL_TOOLS = ("search", "read_file", "write_file", "list_files", "search_replace", "execute_command", "todo_write")
USUAL_COMMANDS = ("cat", "echo", "grep", "head", "ls", "mkdir", "python3", "python", "pwd", "tail", "wc")
"""What `--tools` stands for."""


def read_config(
    path: Path | None,
    flags: QuickFlags = NO_FLAGS,
    *,
    overrides: Mapping[str, object] | None = None,
    probe: Probe | None = None,
    tries_tools: bool = False,
) -> LoadedConfig:
    """The configuration of a file, or without one what flags and machine say. Raises ConfigError.

    With `tries_tools` each tool is made, which imports the modules of functions: for a process that is to use them.
    """
    checks = (tool_problems,) if tries_tools else ()
    if path is not None:
        return load_config(path, environ=os.environ, overrides=overrides, checks=checks)
    environ = {**read_dotenv(Path.cwd()), **os.environ}
    instead = values(choose_model(flags, environ, probe), flags)
    loaded = load_config(None, environ=environ, overrides=overrides, instead=instead, checks=checks)
    unread = find_config(os.environ, Path.cwd())
    if unread is None:
        return loaded
    return replace(
        loaded, warnings=(f"{unread}: not read, because the command line says what to serve", *loaded.warnings)
    )


def tool_problems(config: Config) -> Iterable[tuple[Key, str]]:
    """What is wrong with the tools of the agents. Nothing is loaded for it where agents have none."""
    if not config.has_tools:
        return ()
    from app.tools.checks import find_problems

    return find_problems(config)


def choose_model(flags: QuickFlags, environ: Mapping[str, str], probe: Probe | None = None) -> Choice:
    """Raises ConfigError: the provider is unknown."""
    if not flags.names_a_model:
        return choose(environ, probe)
    kind = flags.provider or _provider(flags, environ, probe)
    if kind not in get_args(LLMType):
        known = ", ".join(("local", *PRESETS))
        raise ConfigError(f"command line: --provider: there is no provider {kind!r} (known: {known})")
    model = flags.model or environ.get(f"{kind.upper()}_MODEL", "").strip() or _usual_model(kind, environ, probe)
    said = {"type": kind, "model": model, "api_key": flags.api_key, "host": flags.base_url}
    entry = {key: value for key, value in said.items() if value}
    return Choice(kind, entry if kind != "local" or model else None, "the command line says so")


def values(choice: Choice, flags: QuickFlags) -> dict[str, Any]:
    """What a file would say."""
    said = choice.as_values()
    tools: list[str] = []
    if flags.tools:
        tools += USUAL_TOOLS
        said["tools"] = {"execute_command": {"allowed_commands": list(USUAL_COMMANDS)}}
    if flags.mcp_url:
        tools += ["server"]
        said.setdefault("tools", {})["mcp"] = {"server": {"url": flags.mcp_url}}
    if tools:
        said["agents"]["assistant"]["tools"] = tools
    if flags.docs:
        said["document_stores"] = {"docs": {"paths": [flags.docs]}}
    return said


def _provider(flags: QuickFlags, environ: Mapping[str, str], probe: Probe | None) -> str:
    if flags.base_url or flags.api_key:
        return "anthropic" if (flags.api_key or "").startswith("sk-ant-") else "openai"
    found = choose(environ, probe)
    if found.llm is None:
        return "openai"
    if found.name == "ollama" and flags.model not in (found.llm["model"], *found.others):
        return "openai"
    return str(found.llm["type"])


def _usual_model(kind: str, environ: Mapping[str, str], probe: Probe | None) -> str:
    if kind == "ollama":
        return next(iter((probe or Probe(environ)).models()), "")
    return PRESETS[kind].model if kind in PRESETS else ""
