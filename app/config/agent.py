"""The `agents` section: one entry is one agent."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from app.config.acting import LimitsConfig, PermissionsConfig
from app.config.memory import MemoryConfig
from app.config.section import Section
from app.config.units import EntryName, Size, format_duration, parse_duration


class PromptConfig(Section):
    """What the model is told before the conversation: parts in this order, or one text."""

    system_role: str | None = None
    """Who the agent is."""
    reasoning_instructions: str | None = None
    """How it should think."""
    tool_usage: str | None = None
    """When and how it should use tools."""
    output_format: str | None = None
    """What an answer looks like."""
    communication_style: str | None = None
    """The tone of an answer."""
    additional: str | None = None
    """Anything else."""
    system_prompt: str | None = None
    """The whole text, instead of the parts above."""

    @model_validator(mode="after")
    def _is_whole_or_in_parts(self) -> PromptConfig:
        parts = [name for name, text in self if text is not None and name != "system_prompt"]
        if self.system_prompt is not None and parts:
            raise ValueError(f"`system_prompt` is the whole text; remove it or {', '.join(parts)}")
        return self


class ReasoningConfig(Section):
    """How a turn runs and what of it is shown."""

    engine: Literal["chain-of-thought", "supervisor"] = "chain-of-thought"
    """The loop of a turn: model, tools, model, until the answer stands; `supervisor`: by calls of its `sub_agents`."""
    max_iterations: int = Field(default=20, ge=1)
    """Most model calls in one turn."""
    on_crash: Literal["interrupt", "resume"] = "interrupt"
    """A turn whose server died: ends with the text it had, or goes on where it was."""
    on_unknown: Literal["ask", "tell_model"] = "ask"
    """A call of which a crash left open whether it happened: a person is asked, or the model is told so."""
    on_limit: Literal["land", "ask", "stop"] = "land"
    """A turn at one of its `limits`: concludes without tools, asks whether to go on, or stops."""
    enable_streaming: bool = True
    """Whether text is sent as it comes; false sends the whole answer as one chunk."""
    show_tool_execution: bool = True
    """Whether streams show tool calls and results."""
    show_thinking: bool = False
    """Whether streams show the model's thinking."""
    show_debug_info: bool = False
    """Whether streams show session, message number, memory and response."""


def _parse_grace(value: object) -> timedelta | None:
    return None if value is None or value == "never" else parse_duration(value)


def _format_grace(grace: timedelta | None) -> str:
    return "never" if grace is None else format_duration(grace)


Grace = Annotated[timedelta | None, BeforeValidator(_parse_grace), PlainSerializer(_format_grace, when_used="json")]


class StreamingConfig(Section):
    """The pace of a stream and what happens without readers."""

    chunk_size: int = Field(default=0, ge=0)
    """Characters of one chunk; 0 sends text as it comes."""
    delay_ms: int = Field(default=0, ge=0)
    """Milliseconds between two chunks."""
    buffer_size: Size = 65536
    """Bytes a slow reader may lag behind before it gets fewer and larger chunks."""
    disconnect_grace: Grace = timedelta(seconds=30)
    """How long a turn goes on after its last reader left; 0 stops it at once, `never` does not stop it."""


class AgentConfig(Section):
    """One agent. Every key may be left out."""

    name: str = ""
    """The name people see; left out: the entry's own."""
    description: str = ""
    """What the agent is for, in a sentence."""
    visibility: Literal["public", "internal", "private"] = "public"
    """`internal`: served under its name, not listed; `private`: for other agents only, unknown to callers."""
    llm: EntryName = ""
    """Name of an entry of `llms`; left out: the only one, else `default`, else `local`."""
    prompt: PromptConfig = Field(default_factory=PromptConfig)
    reasoning: ReasoningConfig = Field(default_factory=ReasoningConfig)
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    streaming: StreamingConfig = Field(default_factory=StreamingConfig)
    tools: tuple[str, ...] = ()
    """What it may use: names of tools, of MCP servers (all tools of them), or patterns such as `mcp__time__*`."""
    permissions: PermissionsConfig = Field(default_factory=PermissionsConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    document_stores: tuple[EntryName, ...] | None = None
    """Document stores that its `search` tool sees; null: all."""
    sub_agents: tuple[EntryName, ...] | None = None
    """Agents that it may call, by the tool `agent_call`, which it has then; null: all, if it lists `agent_call`."""
