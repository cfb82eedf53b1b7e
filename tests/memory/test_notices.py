"""What the server logs at start about the configuration of memory."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.root import Config
from app.memory.notices import notices


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
    assert notice.startswith("agent a shares its memories among all of its users (storage_scope: all)")


def test_who_remembers_summaries_that_nobody_writes_is_told() -> None:
    [notice] = notices(config("summaries_only"))
    assert "has no model that writes them" in notice
    assert notices(config("summaries_only", llm="big")) == []


def test_an_embedder_of_openai_without_a_key_is_told() -> None:
    [notice] = notices(config("session", {"type": "openai"}))
    assert "the embedder has no key" in notice
    assert notices(config("session", {"type": "openai", "host": "http://localhost:1/v1"})) == []
    assert notices(config(None, {"type": "openai"})) == []
