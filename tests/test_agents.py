"""Who is told about an agent, and who may name it."""

from __future__ import annotations

import pytest

from app.agents import SUPERVISOR, Roster, build_agent, system_prompt
from app.config.agent import AgentConfig, PromptConfig
from app.domain.errors import NotFound
from tests.fixtures.hand_llm import HandLLM


def roster(**visibility: str) -> Roster:
    llm = HandLLM()
    made = {name: AgentConfig.model_validate({"visibility": said}) for name, said in visibility.items()}
    return Roster({name: build_agent(name, config, llm, summarizer=None) for name, config in made.items()})


def test_an_internal_agent_is_served_but_not_listed() -> None:
    agents = roster(front="public", back="internal")

    assert [agent.name for agent in agents.listed()] == ["front"]
    assert agents.get("back").name == "back"


def test_a_private_agent_is_unknown_to_callers() -> None:
    agents = roster(front="public", tool="private")

    assert [agent.name for agent in agents.listed()] == ["front"]
    with pytest.raises(NotFound):
        agents.get("tool")
    assert agents.find("tool") is not None


def test_a_supervisor_is_told_how_to_lead_unless_its_prompt_says_how() -> None:
    role = PromptConfig(system_role="You plan trips.")
    thinking = PromptConfig(reasoning_instructions="Ask one agent at a time.")
    whole = PromptConfig(system_prompt="All of it.")

    assert system_prompt(role, is_supervisor=True) == f"You plan trips.\n\n{SUPERVISOR}"
    assert system_prompt(thinking, is_supervisor=True) == "Ask one agent at a time."
    assert system_prompt(whole, is_supervisor=True) == "All of it."
    assert system_prompt(role) == "You plan trips."
