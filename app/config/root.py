"""Config: all sections together, and what they have to agree on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, PrivateAttr, model_validator

from app.config.acting import ApprovalsConfig, SecurityConfig
from app.config.acting_checks import find_problems
from app.config.agent import AgentConfig
from app.config.compat import CompatConfig
from app.config.documents import DocumentStoreConfig
from app.config.limits import LimitsConfig
from app.config.llm import EmbedderConfig, LLMConfig
from app.config.near import near_name
from app.config.section import Problems, Section
from app.config.server import (
    AuthConfig,
    ClusterConfig,
    EventsConfig,
    LoggingConfig,
    RedisConfig,
    ServerConfig,
    SessionsConfig,
    StorageConfig,
)
from app.config.tool_types import BUILT_IN
from app.config.tools import ToolsConfig
from app.config.webhooks import WebhookConfig, WebhookDeliveryConfig

# The name of an agent, or of a store, is a segment of its addresses.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Found = dict[tuple[str | int, ...], str]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a configuration was read, which makes no other of it."""

    folder: Path = field(compare=False)
    file: Path | None = field(default=None, compare=False)


class Config(Section):
    """Everything the file may say. `Config()` is what an empty file means."""

    server: ServerConfig = Field(default_factory=ServerConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)
    sessions: SessionsConfig = Field(default_factory=SessionsConfig)
    events: EventsConfig = Field(default_factory=EventsConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    auth: AuthConfig = Field(default_factory=AuthConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    llms: dict[str, LLMConfig] = Field(default_factory=lambda: {"local": LLMConfig(type="local")})
    embedders: dict[str, EmbedderConfig] = Field(default_factory=lambda: {"default": EmbedderConfig()})
    agents: dict[str, AgentConfig] = Field(default_factory=lambda: {"assistant": AgentConfig()})
    tools: ToolsConfig = Field(default_factory=ToolsConfig)
    approvals: ApprovalsConfig = Field(default_factory=ApprovalsConfig)
    security: SecurityConfig = Field(default_factory=SecurityConfig)
    document_stores: dict[str, DocumentStoreConfig] = Field(default_factory=dict)
    compat: CompatConfig = Field(default_factory=CompatConfig)
    webhooks: tuple[WebhookConfig, ...] = ()
    """Programs that are told of events, an entry for each address."""
    webhook_delivery: WebhookDeliveryConfig = Field(default_factory=WebhookDeliveryConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    redis: RedisConfig = Field(default_factory=RedisConfig)

    _place: _Place = PrivateAttr(default_factory=lambda: _Place(Path.cwd()))

    @model_validator(mode="after")
    def _agrees(self) -> Config:
        found = self._door_problems() | self._agent_problems() | self._embedder_problems()
        found |= self._store_problems() | self._compat_problems() | self._cluster_problems() | dict(find_problems(self))
        found |= self._webhook_problems()
        if found:
            raise Problems(found)
        return self

    def at(self, folder: Path, file: Path | None = None) -> Config:
        """The same configuration, every relative path taken from `folder` (absolute); `file` is where it was read."""
        there = self.model_copy(
            update={
                "storage": self.storage.at(folder),
                "auth": self.auth.at(folder),
                "logging": self.logging.at(folder),
                "llms": {name: llm.at(folder) for name, llm in self.llms.items()},
                "tools": self.tools.at(folder),
                "document_stores": {name: store.at(folder) for name, store in self.document_stores.items()},
            }
        )
        there._place = _Place(folder, file.absolute() if file is not None else None)
        return there

    @property
    def has_tools(self) -> bool:
        """Whether agents have tools or rules, or the file has tools of its own."""
        if any(name not in BUILT_IN for name in self.tools.named):
            return True
        return any(one.tools or one.sub_agents or one.permissions.model_fields_set for one in self.agents.values())

    @property
    def folder(self) -> Path:
        """Where relative paths start; modules of tools are looked for here, too."""
        return self._place.folder

    @property
    def own_files(self) -> tuple[Path, ...]:
        """Files that tools must not touch: this configuration, what belongs to it, and the database."""
        own = [self._place.file] if self._place.file is not None else []
        own += [self.folder / ".env", self.folder / ".env.local"]
        if not self.storage.is_postgres:
            database = self.folder / self.storage.path
            own += [database.with_name(database.name + end) for end in ("", "-wal", "-shm", "-journal", ".lock")]
        return tuple(own)

    @property
    def has_one_user(self) -> bool:
        """Whether requests that name no user come from one person: from this machine, without keys and no proxy."""
        server = self.server
        return server.is_loopback and not (self.auth.asks or server.public_url or server.allowed_hosts)

    def _door_problems(self) -> Found:
        if self.server.is_loopback or self.auth.asks or self.server.allow_unauthenticated:
            return {}
        return {
            (
                "server",
                "host",
            ): f"{self.server.host!r} can be reached from other machines without authentication: "
            "add auth.keys or auth.jwt, listen on 127.0.0.1, or confirm with server.allow_unauthenticated: true"
        }

    def _agent_problems(self) -> Found:
        """Also fills in what an agent left out: its name and its llm."""
        found: Found = {}
        for key, agent in self.agents.items():
            if not _NAME.fullmatch(key):
                found["agents", key] = "an agent's name is made of letters, digits, '.', '_' and '-', at most 64"
            llm = agent.llm or self._usual_llm()
            if llm not in self.llms:
                found["agents", key, "llm"] = self._no_such_llm(llm)
            summarizer = agent.memory.working.llm
            if summarizer and summarizer not in self.llms:
                found["agents", key, "memory", "working", "llm"] = self._no_such_llm(summarizer)
            self.agents[key] = agent.model_copy(update={"llm": llm, "name": agent.name or key})
        return found

    def summarizer_of(self, agent: AgentConfig) -> str | None:
        """The entry of `llms` that sums up an agent's older messages: the one named for it, or the agent's own.

        But nobody for an agent on the embedded model, which is too small to say what matters and too slow to wait for.
        """
        named = agent.memory.working.llm
        return named or (None if self.llms[agent.llm].is_embedded else agent.llm)

    @property
    def embedder(self) -> EmbedderConfig:
        """Who embeds memories: the entry `default`, or the only one."""
        if "default" in self.embedders or len(self.embedders) != 1:
            return self.embedders.get("default", EmbedderConfig(type="none"))
        return next(iter(self.embedders.values()))

    def _embedder_problems(self) -> Found:
        if len(self.embedders) < 2 or "default" in self.embedders:
            return {}
        return {
            (
                "embedders",
            ): f"has several entries: call the one that embeds memories 'default' ({', '.join(self.embedders)})"
        }

    def _store_problems(self) -> Found:
        sentence = "a store's name is made of letters, digits, '.', '_' and '-', at most 64"
        return {("document_stores", name): sentence for name in self.document_stores if not _NAME.fullmatch(name)}

    @property
    def is_shared(self) -> bool:
        """Whether several servers may share the database."""
        return self.cluster.enabled or self.redis.url is not None

    def _cluster_problems(self) -> Found:
        found: Found = {}
        if self.storage.is_postgres:
            return found
        need = "need PostgreSQL: set storage.url to postgresql://…, or"
        if self.redis.url is not None:
            found["redis", "url"] = f"servers that share Redis {need} redis.url to null"
        elif self.cluster.enabled:
            found["cluster", "enabled"] = f"several servers {need} cluster.enabled to false"
        if self.server.workers > 1:
            found["server", "workers"] = f"several workers {need} server.workers to 1"
        return found

    def _compat_problems(self) -> Found:
        found: Found = {}
        llm = self.compat.vectorshift.default_llm
        if llm is not None and llm not in self.llms:
            found["compat", "vectorshift", "default_llm"] = self._no_such_llm(llm)
        for place, name in enumerate(self.compat.mcp.agents or ()):
            if name not in self.agents:
                found["compat", "mcp", "agents", place] = self._no_such_agent(name)
            elif self.agents[name].visibility == "private":
                found["compat", "mcp", "agents", place] = f"{name!r} is private: no caller may know it"
        return found

    def _webhook_problems(self) -> Found:
        found: Found = {}
        urls = [webhook.url for webhook in self.webhooks]
        for place, webhook in enumerate(self.webhooks):
            if webhook.url in urls[:place]:
                found["webhooks", place, "url"] = "is there twice: name all its events in one entry"
            for number, name in enumerate(webhook.agents or ()):
                if name not in self.agents:
                    found["webhooks", place, "agents", number] = self._no_such_agent(name)
        return found

    def _usual_llm(self) -> str:
        if len(self.llms) == 1:
            return next(iter(self.llms))
        return next((name for name in ("default", "local") if name in self.llms), "")

    def _no_such_agent(self, name: str) -> str:
        near = near_name(name, self.agents)
        hint = f"did you mean {near!r}? " if near else ""
        return f"there is no agent {name!r}; {hint}(agents: {', '.join(self.agents)})"

    def _no_such_llm(self, name: str) -> str:
        if not self.llms:
            return "there are no llms: add one under llms, or remove the section for the embedded model"
        known = ", ".join(self.llms)
        if not name:
            return f"is needed, for there are several llms: {known}"
        near = near_name(name, self.llms)
        hint = f"did you mean {near!r}? " if near else ""
        return f"there is no llm {name!r}; {hint}(llms: {known})"
