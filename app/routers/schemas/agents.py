"""Agents and the state of the server on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from app.agents import Agent as LiveAgent
from app.routers.schemas.fields import AgentName


class AgentModel(TypedDict):
    name: Annotated[str, Field(description="Key of the model in the configuration.", examples=["local"])]
    model: Annotated[str, Field(description="The provider's name for it.", examples=["gpt-5-mini"])]


class AgentMemory(TypedDict):
    strategy: str


class Agent(TypedDict):
    agent: AgentName
    name: Annotated[str, Field(examples=["Assistant"])]
    description: str
    llm: AgentModel
    memory: AgentMemory
    tools: list[str]
    streaming: bool


class AgentList(TypedDict):
    agents: list[Agent]


class Health(TypedDict):
    status: Literal["ok"]


class Readiness(TypedDict):
    status: Literal["ready"]


def agent_json(agent: LiveAgent) -> Agent:
    config = agent.config
    return {
        "agent": agent.name,
        "name": config.name,
        "description": config.description,
        "llm": {"name": agent.llm.name, "model": agent.llm.model},
        "memory": {"strategy": config.memory.working.strategy},
        "tools": list(config.tools),
        "streaming": config.reasoning.enable_streaming,
    }
