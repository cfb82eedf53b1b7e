"""Versions of agents: what changes one, what does not; and what a reload changes."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.root import Config
from app.config.version import agent_version, find_changes

BASE: dict[str, Any] = {
    "llms": {"gpt": {"type": "openai", "model": "gpt-4o", "api_key": "one"}, "other": {"type": "scripted"}},
    "agents": {
        "coder": {"llm": "gpt", "prompt": {"system_prompt": "Be brief."}, "tools": ["write_file", "todo_write"]},
        "talker": {"llm": "other"},
    },
    "tools": {"mcp": {"docs": {"url": "https://docs.example/mcp"}}},
}


def config(**changes: Any) -> Config:
    """The base with dotted keys changed: `agents__coder__llm="other"`."""
    made: dict[str, Any] = {name: dict(section) for name, section in BASE.items()}
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        place = made
        for part in path:
            place[part] = dict(place.get(part, {}))
            place = place[part]
        place[last] = value
    return Config.model_validate(made)


def version(of: Config, agent: str = "coder") -> str:
    return agent_version(of, of.agents[agent])


@pytest.mark.parametrize(
    "change",
    [
        {"agents__coder__prompt": {"system_prompt": "Be long."}},
        {"agents__coder__llm": "other"},
        {"agents__coder__tools": ["write_file"]},
        {"agents__coder__permissions": {"deny": ["write_file"]}},
        {"agents__coder__limits": {"calls": 3}},
        {"agents__coder__reasoning": {"max_iterations": 3}},
        {"agents__coder__memory": {"longterm": {}}},
        {"llms__gpt__model": "gpt-5"},
        {"llms__gpt__temperature": 0.1},
        {"tools__write_file": {"require_approval": True}},
        {"security__flow": "ask"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_an_agent_does_is_in_its_version(change: dict[str, Any]) -> None:
    assert version(config(**change)) != version(config())


@pytest.mark.parametrize(
    "change",
    [
        {"llms__gpt__api_key": "two"},
        {"agents__coder__description": "Writes."},
        {"agents__coder__visibility": "internal"},
        {"agents__coder__streaming": {"chunk_size": 9}},
        {"agents__talker__prompt": {"system_prompt": "Another agent."}},
        {"tools__execute_command": {"allowed_commands": ["ls"]}},
        {"tools__mcp__docs__url": "https://elsewhere.example/mcp"},
        {"server__port": 9000},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_it_does_not_depend_on_is_not(change: dict[str, Any]) -> None:
    assert version(config(**change)) == version(config())


def test_a_reload_is_compared_with_what_is_served() -> None:
    after = config(
        llms__gpt__api_key="two",
        llms__new={"type": "scripted"},
        agents__coder__description="Writes.",
        agents__talker__prompt={"system_prompt": "Talk."},
        agents__third={"llm": "new", "visibility": "private"},
        tools__write_file={"require_approval": True},
    )

    changes = find_changes(config(), after)

    assert (changes.agents_added, changes.agents_removed) == (["third"], [])
    assert [one.name for one in changes.agents_changed] == ["coder", "talker"]
    coder, talker = changes.agents_changed
    assert coder.before == coder.after == version(config()), "its tools wait for the restart"
    assert talker.before != talker.after
    assert (changes.llms_added, changes.llms_changed) == (["new"], ["gpt"])
    assert changes.needs_restart == ["tools"]
    assert changes.private == {"third"}
    nothing = find_changes(after, after)
    assert [*nothing.agents_added, *nothing.agents_changed, *nothing.llms_changed, *nothing.needs_restart] == []
