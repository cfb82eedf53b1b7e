"""Notices: what the server logs at start about the configuration of long-term memory."""

from __future__ import annotations

from app.config.root import Config
from app.search import minilm


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
