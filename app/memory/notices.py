"""Notices: what the server logs at start about the configuration of long-term memory."""

from __future__ import annotations

from app.config.root import Config
from app.search import minilm


def notices(config: Config) -> list[str]:
    """One sentence per surprise in the configuration of agents with long-term memory; empty when no agent has one."""
    agents, embedder = config.agents, config.embedder
    scopes = {name: agent.memory.longterm.storage_scope for name, agent in agents.items() if agent.memory.longterm}
    found = []
    for name, scope in scopes.items():
        if scope == "all":
            found.append(
                f"agent {name} shares its memories among all of its users (storage_scope: all): "
                "it may tell one user what another one said"
            )
        if scope == "summaries_only" and config.summarizer_of(config.agents[name]) is None:
            found.append(
                f"agent {name} stores summaries only, but has no model that writes them: name an entry of llms in its "
                "memory.working.llm (the embedded model writes summaries only if it is named there)"
            )
    if scopes and embedder.type == "local" and not minilm.is_installed():
        found.append(f"memories are found by keyword only: {minilm.MISSING}")
    if scopes and embedder.type == "openai" and embedder.host is None and not embedder.api_key:
        found.append("memories are found by keyword only: the embedder has no key; set embedders.default.api_key")
    return found
