"""Agent: one entry of `agents:` made alive. Roster: the agents of this server by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.config.agent import AgentConfig, PromptConfig
from app.config.llm import PriceConfig
from app.config.root import Config
from app.domain.errors import agent_not_found
from app.domain.message import is_blank
from app.llm.base import LLM
from app.llm.formats import schema_format
from app.memory.budget import ModelBudget, budget_for
from app.memory.buffer_window import BufferWindow
from app.memory.summary_buffer import SummaryBuffer
from app.memory.working import Entry, WorkingMemory, entry

_SLOTS = (
    "system_role",
    "reasoning_instructions",
    "tool_usage",
    "output_format",
    "communication_style",
    "additional",
)
DEFAULT_PROMPT = "You are a helpful assistant."
SUPERVISOR = (
    "You lead other agents. Take the task apart, give each part to the agent that is best for it with all that it "
    "needs to know, look at what comes back, and make the answer of it. Do yourself only what no agent is for."
)
"""How a supervisor works, where its prompt does not say."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A name with its prompt, LLM and memory. Has no state of its own."""

    name: str
    config: AgentConfig
    llm: LLM
    working_memory: WorkingMemory
    system: Entry | None
    """The system prompt; `None` if it is blank."""
    summarizer: LLM | None
    """The model that sums up older messages; `None`: they are left out."""
    budget: ModelBudget | None = None
    """Fits the working memory to the model; `None`: the configuration says what it keeps."""
    price: PriceConfig | None = None
    """What a million tokens of its model cost."""
    response_format: bytes | None = None
    """What its answers are, where a request does not say; see `LLMRequest`."""


class Roster:
    """Name → Agent."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._agents = dict(agents)

    def replace(self, agents: Mapping[str, Agent]) -> None:
        """Serve these from now on; running turns end with the agent they began with."""
        self._agents = dict(agents)

    def get(self, name: str) -> Agent:
        """The agent that a caller names. Raises NotFound (`agent_not_found`), for a private one too."""
        agent = self._agents.get(name)
        if agent is None or agent.config.visibility == "private":
            raise agent_not_found(name)
        return agent

    def find(self, name: str) -> Agent | None:
        return self._agents.get(name)

    def listed(self) -> list[Agent]:
        """The agents that callers are told about."""
        return [agent for agent in self if agent.config.visibility == "public"]

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())


def build_agents(config: Config, models: Mapping[str, LLM]) -> dict[str, Agent]:
    """Every agent of the configuration on its model."""
    schemas = {name: llm.structured_output for name, llm in config.llms.items()}
    return {
        name: replace(
            build_agent(
                name,
                agent,
                models[agent.llm],
                summarizer=models.get(config.summarizer_of(name) or ""),
                answer_schema=schemas.get(agent.llm),
            ),
            price=config.llms[agent.llm].price if agent.llm in config.llms else None,
        )
        for name, agent in config.agents.items()
    }


def build_agent(
    name: str, config: AgentConfig, llm: LLM, *, summarizer: LLM | None, answer_schema: dict[str, Any] | None = None
) -> Agent:
    """`answer_schema`: the JSON schema that its answers fit, if they are to be JSON."""
    working = config.memory.working
    prompt = system_prompt(config.prompt, is_supervisor=config.reasoning.engine == "supervisor")
    system = None if is_blank(prompt) else entry("system", prompt)
    wanted = schema_format(answer_schema) if answer_schema is not None else None
    if working.strategy == "buffer_window":
        window = BufferWindow(working.window_size)
        return Agent(name, config, llm, window, system, summarizer, response_format=wanted)
    usual = budget_for(llm.context.known, answer_tokens=llm.context.answer_tokens, prompt_tokens=0)
    memory = SummaryBuffer(
        working.budget or usual,
        llm.count_tokens,
        threshold=working.threshold,
        target=working.target,
        sums_up=summarizer is not None,
    )
    budget = ModelBudget(memory, llm, system) if working.budget is None else None
    return Agent(name, config, llm, memory, system, summarizer, budget, response_format=wanted)


def system_prompt(prompt: PromptConfig, *, is_supervisor: bool = False) -> str:
    """The whole prompt, or its slots in their order, a blank line between."""
    if prompt.system_prompt is not None:
        return prompt.system_prompt
    if is_supervisor and prompt.reasoning_instructions is None:
        prompt = prompt.model_copy(update={"reasoning_instructions": SUPERVISOR})
    slots = [getattr(prompt, slot) for slot in _SLOTS]
    return "\n\n".join([slot for slot in slots if slot]) or DEFAULT_PROMPT
