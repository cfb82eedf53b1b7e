"""Who is told about an agent, and who may name it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.agents import SUPERVISOR, Roster, build_agent, system_prompt
from app.config.agent import AgentConfig, PromptConfig
from app.domain.errors import NotFound
from app.domain.principal import Principal
from tests.fixtures.hand_llm import HandLLM

ANN, BEN = Principal("ann", "key"), Principal("ben", "key")


def roster(**visibility: str) -> Roster:
    llm = HandLLM()
    made = {name: AgentConfig.model_validate({"visibility": said}) for name, said in visibility.items()}
    return Roster({name: build_agent(name, config, llm, summarizer=None) for name, config in made.items()})


def test_an_internal_agent_is_served_but_not_listed() -> None:
    agents = roster(front="public", back="internal")

    assert [agent.name for agent in agents.listed(ANN)] == ["front"]
    assert agents.get("back", ANN).name == "back"


def test_a_private_agent_is_unknown_to_callers() -> None:
    agents = roster(front="public", tool="private")

    assert [agent.name for agent in agents.listed(ANN)] == ["front"]
    with pytest.raises(NotFound):
        agents.get("tool", ANN)
    assert agents.find("tool") is not None


def test_an_agent_that_somebody_created_is_for_its_owner_alone() -> None:
    agents = roster(front="public")
    made = build_agent("agent_1", AgentConfig(), HandLLM(), summarizer=None)
    agents.add(replace(made, owner="ann"))

    assert agents.get("agent_1", ANN).name == "agent_1"
    assert [agent.name for agent in agents.listed(ANN)] == ["front", "agent_1"]
    for caller in (BEN, None):
        assert [agent.name for agent in agents.listed(caller)] == ["front"]
        with pytest.raises(NotFound) as refused:
            agents.get("agent_1", caller)
        with pytest.raises(NotFound) as unknown:
            agents.get("agent_2", caller)
        assert str(refused.value) == str(unknown.value).replace("agent_2", "agent_1")

    agents.remove("agent_1")
    assert agents.find("agent_1") is None


def test_a_supervisor_is_told_how_to_lead_unless_its_prompt_says_how() -> None:
    role = PromptConfig(system_role="You plan trips.")
    thinking = PromptConfig(reasoning_instructions="Ask one agent at a time.")
    whole = PromptConfig(system_prompt="All of it.")

    assert system_prompt(role, is_supervisor=True) == f"You plan trips.\n\n{SUPERVISOR}"
    assert system_prompt(thinking, is_supervisor=True) == "Ask one agent at a time."
    assert system_prompt(whole, is_supervisor=True) == "All of it."
    assert system_prompt(role) == "You plan trips."
