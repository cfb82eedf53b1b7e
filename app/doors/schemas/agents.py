"""Agents and the state of the server on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from app.agents import Agent as LiveAgent
from app.doors.schemas.fields import AgentName, AgentVersion
from app.memory.summary_buffer import SummaryBuffer


class AgentModel(TypedDict):
    name: Annotated[str, Field(description="Key of the model in the configuration.", examples=["local"])]
    model: Annotated[str, Field(description="The provider's name for it.", examples=["gpt-5-mini"])]


class ModelContext(TypedDict):
    tokens: Annotated[
        int, Field(description="What the model takes in, request and answer together.", examples=[128000])
    ]
    source: Annotated[
        Literal["configured", "provider", "refusal", "known", "embedded", "usual", "assumed"],
        Field(description="Where the figure comes from. `known`: the model's name; `assumed`: none of these."),
    ]


class AgentMemory(TypedDict):
    strategy: str
    budget: Annotated[
        int | None, Field(description="Tokens of history and summary in a request; null: messages are counted.")
    ]
    context: ModelContext


class Agent(TypedDict):
    agent: AgentName
    name: Annotated[str, Field(examples=["Assistant"])]
    description: str
    llm: AgentModel
    memory: AgentMemory
    tools: list[str]
    streaming: bool
    version: AgentVersion
    disconnect_grace_ms: Annotated[
        int | None,
        Field(description="How long an answer is written after its last reader has left; null: to its end."),
    ]


class AgentList(TypedDict):
    agents: list[Agent]


class Health(TypedDict):
    status: Literal["ok"]


class Readiness(TypedDict):
    status: Literal["ready"]


def agent_json(agent: LiveAgent) -> Agent:
    config, memory, context = agent.config, agent.working_memory, agent.llm.context.known
    grace = config.streaming.disconnect_grace
    return {
        "agent": agent.name,
        "name": config.name,
        "description": config.description,
        "llm": {"name": agent.llm.name, "model": agent.llm.model},
        "memory": {
            "strategy": config.memory.working.strategy,
            "budget": memory.budget if isinstance(memory, SummaryBuffer) else None,
            "context": {"tokens": context.tokens, "source": context.source},
        },
        "tools": list(config.tools),
        "streaming": config.reasoning.enable_streaming,
        "version": agent.version,
        "disconnect_grace_ms": None if grace is None else round(grace.total_seconds() * 1000),
    }
