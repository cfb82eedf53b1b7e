"""Builds the embedder that the configuration names."""

from __future__ import annotations

from app.config.llm import EmbedderConfig
from app.search import minilm
from app.search.embedder import Embedder
from app.search.openai_embedder import OpenAIEmbedder

OPENAI = "https://api.openai.com/v1"
OPENAI_MODEL = "text-embedding-3-small"


def build_embedder(config: EmbedderConfig) -> Embedder | None:
    """`None` when search is by keyword only. Loads nothing and connects to nothing before the first text."""
    if config.type == "openai":
        return OpenAIEmbedder(
            model=config.model or OPENAI_MODEL,
            base_url=config.host or OPENAI,
            api_key=config.api_key.get_secret_value() if config.api_key is not None else None,
            dimension=config.dimension,
        )
    return minilm.MiniLM() if config.type == "local" and minilm.is_installed() else None
