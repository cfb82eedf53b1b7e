"""From the configuration to an embedder, and what is said at start."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.root import Config
from app.memory.build import build_embedder, notices
from app.memory.embedder import OpenAIEmbedder
from app.memory.minilm import MiniLM


def config(scope: str | None = None, embedder: dict[str, Any] | None = None, **working: Any) -> Config:
    longterm = None if scope is None else {"storage_scope": scope}
    values: dict[str, Any] = {"agents": {"a": {"memory": {"longterm": longterm, "working": working}}}}
    values["llms"] = {"small": {"type": "local"}, "big": {"type": "scripted"}}
    values["agents"]["a"]["llm"] = "small"
    if embedder is not None:
        values["embedders"] = {"default": embedder}
    return Config.model_validate(values)


@pytest.mark.parametrize("scope", [None, "session", "conversational"])
def test_who_shares_nothing_is_told_nothing(scope: str | None) -> None:
    assert notices(config(scope)) == []


def test_who_shares_with_all_is_told() -> None:
    [notice] = notices(config("all"))
    assert notice.startswith("agent a shares what it remembers among all of its users (storage_scope: all)")


def test_who_remembers_summaries_that_nobody_writes_is_told() -> None:
    [notice] = notices(config("summaries_only"))
    assert "nobody writes them" in notice
    assert notices(config("summaries_only", llm="big")) == []


def test_an_embedder_of_openai_without_a_key_is_told() -> None:
    [notice] = notices(config("session", {"type": "openai"}))
    assert "the embedder has no key" in notice
    assert notices(config("session", {"type": "openai", "host": "http://localhost:1/v1"})) == []
    assert notices(config(None, {"type": "openai"})) == []


async def test_each_type_has_its_embedder() -> None:
    made = build_embedder(
        config("session", {"type": "openai", "host": "http://localhost:1/v1", "dimension": 9}).embedder
    )
    assert isinstance(made, OpenAIEmbedder)
    assert made.model == "text-embedding-3-small@localhost:1/9"
    await made.close()
    assert isinstance(build_embedder(Config().embedder), MiniLM)
    assert build_embedder(config("session", {"type": "none"}).embedder) is None


def test_the_default_embedder_acts_or_the_only_one() -> None:
    both = {"default": {"type": "none"}, "other": {"type": "local"}}
    assert Config.model_validate({"embedders": both}).embedder.type == "none"
    assert Config.model_validate({"embedders": {"mine": {"type": "none"}}}).embedder.type == "none"
    assert Config.model_validate({"embedders": {}}).embedder.type == "none"
    with pytest.raises(ValueError, match="call the one that embeds memories 'default'"):
        Config.model_validate({"embedders": {"one": {"type": "none"}, "two": {"type": "none"}}})
