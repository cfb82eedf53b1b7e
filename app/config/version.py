"""The version of an agent: a hash of what its behaviour depends on in the configuration; and what a reload changes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson

from app.config.agent import AgentConfig
from app.config.root import Config

_LENGTH = 16
_OF_NO_EFFECT = {"description", "visibility", "streaming"}
"""Keys of an agent that change what is shown of it, not what it does."""
_RELOADED = ("agents", "llms")
"""The sections that a reload takes over; changes of others need a restart."""


def agent_version(config: Config, agent: AgentConfig) -> str:
    """16 hexadecimal digits that are the same as long as prompt, models, memory, tools, rules and limits are.

    Secrets do not count: they are not hashed at all, so a version tells nothing of them.
    """
    models = {agent.llm, config.summarizer_of(agent) or agent.llm}
    parts: dict[str, Any] = {
        "agent": agent.model_dump(mode="json", exclude=_OF_NO_EFFECT),
        "llms": {name: config.llms[name].model_dump(mode="json") for name in models if name in config.llms},
        "tools": _tools_of(config, agent),
        "stores": {
            name: store.model_dump(mode="json")
            for name, store in config.document_stores.items()
            if "search" in agent.tools and (agent.document_stores is None or name in agent.document_stores)
        },
        "security": config.security.model_dump(mode="json"),
    }
    if agent.memory.longterm is not None:
        parts["embedder"] = config.embedder.model_dump(mode="json")
    # pydantic writes every secret as the same asterisks
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_LENGTH]


def _tools_of(config: Config, agent: AgentConfig) -> Mapping[str, Any]:
    """The settings of the tools that it lists, and of the MCP servers that it may mean."""
    if not agent.tools and not agent.sub_agents:
        return {}
    tools = config.tools
    listed = (*agent.tools, *(("agent_call",) if agent.sub_agents else ()))
    named = {name: tool for name, tool in tools.named.items() if any(fnmatchcase(name, one) for one in listed)}
    servers = {
        name: server
        for name, server in tools.mcp.items()
        if any(fnmatchcase(name, one) or one.startswith(("mcp__", "*")) for one in listed)
    }
    return {
        "parallel": tools.parallel,
        "result_inline": tools.result_inline,
        "named": {name: tool.model_dump(mode="json") for name, tool in named.items()},
        "mcp": {name: server.model_dump(mode="json") for name, server in servers.items()},
    }


@dataclass(frozen=True, slots=True)
class ChangedAgent:
    """An agent that is served before and after. `before` and `after` are its versions; equal where only what is shown
    of it changes, or a secret of its model."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reload changes: names of agents and models, and of sections that wait for a restart."""

    agents_added: Sequence[str]
    agents_removed: Sequence[str]
    agents_changed: Sequence[ChangedAgent]
    llms_added: Sequence[str]
    llms_removed: Sequence[str]
    llms_changed: Sequence[str]
    needs_restart: Sequence[str]
    private: frozenset[str] = frozenset()
    """Agents among these that no caller may know."""


def reloaded(before: Config, after: Config) -> Config:
    """What is served after `after` was read while `before` was served: the rest stays until a restart."""
    return before.model_copy(update={name: getattr(after, name) for name in _RELOADED})


def find_changes(before: Config, after: Config) -> Changes:
    """What a server on `before` changes when it reads `after`. Compares secrets, and tells none."""
    served = reloaded(before, after)
    changed = []
    for name, agent in served.agents.items():
        if name in before.agents:
            was, will_be = agent_version(before, before.agents[name]), agent_version(served, agent)
            if was != will_be or agent != before.agents[name]:
                changed.append(ChangedAgent(name, was, will_be))
    return Changes(
        [name for name in after.agents if name not in before.agents],
        [name for name in before.agents if name not in after.agents],
        changed,
        [name for name in after.llms if name not in before.llms],
        [name for name in before.llms if name not in after.llms],
        [name for name, llm in after.llms.items() if name in before.llms and llm != before.llms[name]],
        [
            name
            for name in type(after).model_fields
            if name not in _RELOADED and getattr(after, name) != getattr(before, name)
        ],
        frozenset(
            name for config in (before, after) for name, one in config.agents.items() if one.visibility == "private"
        ),
    )
