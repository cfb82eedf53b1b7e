"""What a reload changes, on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from app.config.version import Changes
from app.doors.schemas.fields import AgentName, AgentVersion


class ChangedAgent(TypedDict):
    agent: AgentName
    before: AgentVersion
    after: Annotated[
        AgentVersion, Field(description="The same as `before` where only a description, a pace or a secret changes.")
    ]


class AgentChanges(TypedDict):
    added: list[AgentName]
    removed: list[AgentName]
    changed: list[ChangedAgent]


class ModelChanges(TypedDict):
    added: list[str]
    removed: list[str]
    changed: list[str]


class ReloadChanges(TypedDict):
    agents: AgentChanges
    llms: ModelChanges
    needs_restart: Annotated[list[str], Field(description="Sections that differ and that a reload does not take over.")]


def changes_json(changes: Changes, *, with_private: bool) -> ReloadChanges:
    hidden = frozenset() if with_private else changes.private
    changed: list[ChangedAgent] = [
        {"agent": agent.name, "before": agent.before, "after": agent.after}
        for agent in changes.agents_changed
        if agent.name not in hidden
    ]
    return {
        "agents": {
            "added": [name for name in changes.agents_added if name not in hidden],
            "removed": [name for name in changes.agents_removed if name not in hidden],
            "changed": changed,
        },
        "llms": {
            "added": list(changes.llms_added),
            "removed": list(changes.llms_removed),
            "changed": list(changes.llms_changed),
        },
        "needs_restart": list(changes.needs_restart),
    }
