"""Builds the embedder that the configuration names."""

from __future__ import annotations

from app.config.llm import EmbedderConfig
from app.search import minilm
from app.search.embedder import Embedder
from app.search.openai_embedder import OpenAIEmbedder

_REMOTE = {
    "openai": ("text-embedding-3-small", "https://api.openai.com/v1"),
    "ollama": ("nomic-embed-text", "http://localhost:11434/v1"),
}
"""The usual model of a type, and where it is."""


def build_embedder(config: EmbedderConfig) -> Embedder | None:
    """`None` when search is by keyword only. Loads nothing and connects to nothing before the first text."""
    if config.type in _REMOTE:
        model, address = _REMOTE[config.type]
        return OpenAIEmbedder(
            model=config.model or model,
            base_url=config.host or address,
            api_key=config.api_key.get_secret_value() if config.api_key is not None else None,
            dimension=config.dimension,
        )
    return minilm.MiniLM() if config.type == "local" and minilm.is_installed() else None
