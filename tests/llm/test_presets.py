"""What we know of providers agrees with what the configuration offers."""

from __future__ import annotations

from typing import get_args

import pytest

from app.config.llm import KEY_VARIABLES, LLMType
from app.llm.presets import PRESETS, Quirks, quirks_for


def test_every_provider_of_the_configuration_has_a_preset() -> None:
    assert set(PRESETS) == set(get_args(LLMType)) - {"local", "scripted"}


def test_keys_are_needed_where_the_configuration_says_so() -> None:
    assert {name: p.key_variable for name, p in PRESETS.items() if p.needs_key} == KEY_VARIABLES


@pytest.mark.parametrize("model", ["o1", "o3-mini", "o4-mini-2025", "gpt-5", "gpt-5-mini", "gpt-5.1", "ft:o4-mini:x"])
def test_openais_reasoning_models_get_no_temperature(model: str) -> None:
    assert quirks_for("openai", model) == Quirks(max_tokens_name="max_completion_tokens", has_temperature=False)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-5-chat-latest", "gpt-5.1-chat-latest", "omni"])
def test_openais_chat_models_get_one(model: str) -> None:
    assert quirks_for("openai", model).has_temperature


def test_others_speak_the_common_dialect() -> None:
    assert quirks_for("vllm", "gpt-5-like") == Quirks()
    assert quirks_for("unheard-of", "m") == Quirks()
