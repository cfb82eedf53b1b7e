"""What is wrong with the tools and rules of a configuration that its models cannot know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from app.config.agent import AgentConfig
from app.config.document import Key
from app.config.near import near_name
from app.config.root import Config
from app.tools.catalog import build_catalog, folder_of
from app.tools.rules import RuleError, Rules, check_patterns

_TOOL = re.compile(r"[\w.*?:/@-]+")
_LISTS = ("deny", "ask", "allow")


def find_problems(config: Config) -> Iterator[tuple[Key, str]]:
    """Key and sentence of each tool that cannot be made and each rule that cannot be read or means no tool.

    Modules of functions are imported for it; nothing is started.
    """
    for name, sentence in build_catalog(config).broken.items():
        yield ("tools", name), sentence
    for name, section in config.tools.named.items():
        patterns = section.require_approval if not isinstance(section.require_approval, bool) else ()
        for number, pattern in enumerate(patterns):
            try:
                check_patterns(name, [pattern])
            except RuleError as error:
                yield ("tools", name, "require_approval", number), str(error)
    for name, agent in config.agents.items():
        yield from _rule_problems(config, ("agents", name, "permissions"), agent)


def _rule_problems(config: Config, at: Key, agent: AgentConfig) -> Iterator[tuple[Key, str]]:
    folder = folder_of(config, agent)
    for kind in _LISTS:
        for number, line in enumerate(getattr(agent.permissions, kind)):
            try:
                Rules(deny=[line], folder=folder)
            except RuleError as error:
                yield (*at, kind, number), str(error)
                continue
            match = _TOOL.match(line.strip())
            if match is not None and (problem := _unknown(config, match[0])) is not None:
                yield (*at, kind, number), problem


def _unknown(config: Config, tool: str) -> str | None:
    """What to say of a rule about a tool that there is not; `None`: there is one, or a server may have it."""
    tools = config.tools
    if tool in tools.mcp and tool not in tools.named:
        return f"{tool!r} is an MCP server; write mcp__{tool}__* for all of its tools"
    if any(fnmatchcase(name, tool) for name in tools.named) or tools.knows(tool):
        return None
    near = near_name(tool, tools.named)
    hint = f"did you mean {near!r}? " if near else ""
    return f"there is no tool {tool!r}, so the rule would mean nothing; {hint}(tools: {', '.join(tools.named)})"
