"""Agent: an entry of `agents:`, or what a client created, made alive. Roster: the agents of this server by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.config.agent import AgentConfig, PromptConfig
from app.config.llm import PriceConfig
from app.config.root import Config
from app.config.version import agent_version
from app.domain.errors import agent_not_found
from app.domain.message import is_blank
from app.domain.principal import Principal
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
    version: str = ""
    """What its behaviour depends on, as a hash (config/version.py)."""
    owner: str | None = None
    """The principal that created it and alone may use it; `None`: an agent of the configuration, for every caller."""

    def is_for(self, caller: Principal | None) -> bool:
        """Whether the caller may use it. `None`: a caller that is not known."""
        if caller is not None and caller.agents is not None and self.name not in caller.agents:
            return False
        if self.owner is not None:
            return caller is not None and caller.id == self.owner
        return self.config.visibility != "private"


class Roster:
    """Name → Agent: those of the configuration, and those that clients created."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._configured = dict(agents)
        self._created: dict[str, Agent] = {}

    def replace(self, agents: Mapping[str, Agent]) -> None:
        """Serve these of the configuration from now on; running turns end with the agent they began with."""
        self._configured = dict(agents)

    def add(self, agent: Agent) -> None:
        """Serve an agent that a client created, in place of one with its name that a client created before."""
        self._created[agent.name] = agent

    def remove(self, name: str) -> None:
        """Serve an agent that a client created no longer."""
        self._created.pop(name, None)

    def get(self, name: str, caller: Principal | None) -> Agent:
        """The agent that a caller names.

        Raises:
            NotFound (`agent_not_found`): unknown, private, created by another principal, or not one of those that the
                caller's key is for; the message is the same.
        """
        agent = self.find(name)
        if agent is None or not agent.is_for(caller):
            raise agent_not_found(name)
        return agent

    def find(self, name: str) -> Agent | None:
        """The agent of this name, whoever may use it."""
        return self._configured.get(name) or self._created.get(name)

    def listed(self, caller: Principal | None) -> list[Agent]:
        """The agents that a caller is told about: those of the configuration first."""
        return [agent for agent in self if agent.config.visibility == "public" and agent.is_for(caller)]

    def __iter__(self) -> Iterator[Agent]:
        return iter([*self._configured.values(), *self._created.values()])


def build_agents(config: Config, models: Mapping[str, LLM]) -> dict[str, Agent]:
    """Every agent of the configuration on its model."""
    return {name: build_on(config, models, name, agent) for name, agent in config.agents.items()}


def build_on(config: Config, models: Mapping[str, LLM], name: str, agent: AgentConfig) -> Agent:
    """An agent on its model of the configuration, whose name is in `agent.llm`."""
    llm = config.llms.get(agent.llm)
    built = build_agent(
        name,
        agent,
        models[agent.llm],
        summarizer=models.get(config.summarizer_of(agent) or ""),
        answer_schema=llm.structured_output if llm is not None else None,
    )
    return replace(built, price=llm.price if llm is not None else None, version=agent_version(config, agent))


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
