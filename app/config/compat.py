"""The `compat` section: doors that speak other products' dialects."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from app.config.section import Section
from app.config.tool_types import Network
from app.config.units import Duration, EntryName, Wait


class OpenAIConfig(Section):
    """The door for clients of OpenAI's API."""

    enabled: bool = True
    """Whether the door is open."""
    prefix: str = Field(default="/v1", pattern=r"^(/[A-Za-z0-9._~-]+)+$")
    """Path under which it answers; clients get it as the end of their base URL."""
    max_tools: int = Field(default=128, ge=0)
    """Most tools of its own that a client may give with a request."""
    result_timeout: Wait = timedelta(hours=1)
    """How long the result of a client's tool is waited for."""
    max_embedding_texts: int = Field(default=2048, ge=1)
    """Most texts of one request for embeddings."""


class VectorShiftConfig(Section):
    """The door for programs written with the vectorshift package."""

    enabled: bool = False
    """Whether the door is open."""
    prefix: str = Field(default="/v1", pattern=r"^(/[A-Za-z0-9._~-]+)+$")
    """Path under which it answers, such as `/v1`."""
    default_llm: EntryName | None = None
    """Entry of `llms` for models it does not know; null refuses them."""
    max_agents: int = Field(default=1000, ge=1)
    """Agents that a key may have created."""


class AguiConfig(Section):
    """The door for front ends that speak AG-UI."""

    enabled: bool = True
    """Whether `POST /agents/{agent}/agui` is there, for front ends that speak AG-UI."""
    max_context: int = Field(default=100_000, ge=0)
    """Most characters of all that a page says under `context`."""


class AiSdkConfig(Section):
    """The door for pages that use `useChat` of the AI SDK."""

    enabled: bool = True
    """Whether `/agents/{agent}/ui` is there, for pages that use `useChat` of the AI SDK."""


class McpConfig(Section):
    """The door for MCP clients, at `/mcp`: one tool for each agent."""

    enabled: bool = True
    """Whether the door is open."""
    agents: tuple[EntryName, ...] | None = None
    """The agents it offers; null: all that are listed."""
    task_after: Duration = timedelta(seconds=10)
    """How long a call is waited for until it goes on as a task, for clients that know tasks."""
    connection_timeout: Wait = timedelta(minutes=30)
    """After this without a request the connection of a client of protocol 2025-11-25 or older is forgotten."""
    max_connections: int = Field(default=1000, ge=1)
    """Most such connections at a time; a client beyond gets 503."""
    progress_interval: Wait = timedelta(milliseconds=200)
    """Text of so long goes into one progress notification."""


class A2AConfig(Section):
    """The door for agents of others that speak A2A. It needs the extra `a2a`."""

    enabled: bool = True
    """Whether agents have cards and answer at `/agents/{agent}/a2a`; needs the extra `a2a`."""
    push: bool = False
    """Whether clients may have the server send notifications about a task to an address of theirs."""
    push_private: tuple[Network, ...] = ()
    """Private networks and addresses that notifications may be sent to, such as `10.1.0.0/16` or `127.0.0.1`."""
    max_push: int = Field(default=4, ge=1)
    """Most addresses that a task is told to."""
    push_timeout: Wait = timedelta(seconds=10)
    """What one delivery of a notification may take."""


class CompatConfig(Section):
    """Other products' dialects."""

    openai: OpenAIConfig = Field(default_factory=OpenAIConfig)
    agui: AguiConfig = Field(default_factory=AguiConfig)
    ai_sdk: AiSdkConfig = Field(default_factory=AiSdkConfig)
    vectorshift: VectorShiftConfig = Field(default_factory=VectorShiftConfig)
    mcp: McpConfig = Field(default_factory=McpConfig)
    a2a: A2AConfig = Field(default_factory=A2AConfig)
