"""From the configuration to an embedder, and what is said at start to those who asked for memory."""

from __future__ import annotations

from app.config.llm import EmbedderConfig
from app.config.root import Config
from app.memory import minilm
from app.memory.embedder import Embedder, OpenAIEmbedder

OPENAI = "https://api.openai.com/v1"
OPENAI_MODEL = "text-embedding-3-small"


def build_embedder(config: EmbedderConfig) -> Embedder | None:
    """`None` where memories are found by their words alone. Nothing is loaded or connected before the first text."""
    if config.type == "openai":
        return OpenAIEmbedder(
            model=config.model or OPENAI_MODEL,
            base_url=config.host or OPENAI,
            api_key=config.api_key.get_secret_value() if config.api_key is not None else None,
            dimension=config.dimension,
        )
    return minilm.MiniLM() if config.type == "local" and minilm.is_installed() else None


def notices(config: Config) -> list[str]:
    """What somebody should know who has agents that remember; empty when none does."""
    agents, embedder = config.agents, config.embedder
    scopes = {name: agent.memory.longterm.storage_scope for name, agent in agents.items() if agent.memory.longterm}
    found = []
    for name, scope in scopes.items():
        if scope == "all":
            found.append(
                f"agent {name} shares what it remembers among all of its users (storage_scope: all): "
                "what one of them says, another may be told"
            )
        if scope == "summaries_only" and config.summarizer_of(name) is None:
            found.append(
                f"agent {name} remembers summaries only, and nobody writes them: name an entry of llms in its "
                "memory.working.llm (the embedded model sums up only if it is named there)"
            )
    if scopes and embedder.type == "local" and not minilm.is_installed():
        found.append(f"memories are found by their words alone: {minilm.MISSING}")
    if scopes and embedder.type == "openai" and embedder.host is None and not embedder.api_key:
        found.append("memories are found by their words alone: the embedder has no key; set embedders.default.api_key")
    return found
