"""From the configuration to an embedder."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.llm import EmbedderConfig
from app.config.root import Config
from app.search.build import build_embedder
from app.search.minilm import MiniLM
from app.search.openai_embedder import OpenAIEmbedder


def config(embedder: dict[str, Any]) -> EmbedderConfig:
    return Config.model_validate({"embedders": {"default": embedder}}).embedder


async def test_each_type_has_its_embedder() -> None:
    made = build_embedder(config({"type": "openai", "host": "http://localhost:1/v1", "dimension": 9}))
    assert isinstance(made, OpenAIEmbedder)
    assert made.model == "text-embedding-3-small@localhost:1/9"
    await made.close()
    ollama = build_embedder(config({"type": "ollama", "host": "http://gpu:11434"}))
    assert isinstance(ollama, OpenAIEmbedder)
    assert ollama.model.startswith("nomic-embed-text@gpu:11434")
    await ollama.close()
    assert isinstance(build_embedder(Config().embedder), MiniLM)
    assert build_embedder(config({"type": "none"})) is None


def test_the_default_embedder_acts_or_the_only_one() -> None:
    both = {"default": {"type": "none"}, "other": {"type": "local"}}
    assert Config.model_validate({"embedders": both}).embedder.type == "none"
    assert Config.model_validate({"embedders": {"mine": {"type": "none"}}}).embedder.type == "none"
    assert Config.model_validate({"embedders": {}}).embedder.type == "none"
    with pytest.raises(ValueError, match="call the one that embeds memories 'default'"):
        Config.model_validate({"embedders": {"one": {"type": "none"}, "two": {"type": "none"}}})
