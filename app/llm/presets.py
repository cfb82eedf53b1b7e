"""The providers we know by name: where they are, which key they need, what they do differently."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Quirks:
    """Where a provider leaves the common dialect. The defaults are the dialect as nearly all speak it."""

    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    has_stream_options: bool = True
    """Whether `stream_options` is understood; without it no usage is reported."""
    has_temperature: bool = True
    has_response_format: bool = True
    """Whether `response_format` is heeded; without it the format is told in words."""


@dataclass(frozen=True, slots=True)
class Preset:
    """`key_variable` is the environment variable that usually holds the key, if there is a usual one.

    `model`: a current one, not the dearest, for those who have a key and no configuration.
    """

    base_url: str
    key_variable: str | None = None
    quirks: Quirks = Quirks()
    model: str = ""

    @property
    def needs_key(self) -> bool:
        return self.key_variable is not None


PRESETS: dict[str, Preset] = {
    # `max_tokens` is deprecated at OpenAI and refused by its reasoning models; the new name works for all.
    "openai": Preset(
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        Quirks(max_tokens_name="max_completion_tokens"),
        model="gpt-5-mini",
    ),
    "anthropic": Preset(
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
        Quirks(has_response_format=False),
        model="claude-sonnet-4-5",
    ),
    "gemini": Preset(
        "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", model="gemini-2.5-flash"
    ),
    "openrouter": Preset("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", model="openrouter/auto"),
    "ollama": Preset("http://localhost:11434/v1"),
    "vllm": Preset("http://localhost:8000/v1"),
}

# These accept no temperature but their own; `gpt-5-chat` is the chat model of that family and does.
_OPENAI_REASONING = re.compile(r"(?:ft:)?(?:o\d|gpt-5(?!-chat|\.\d-chat))")


def quirks_for(provider: str, model: str) -> Quirks:
    """The quirks of one model of a provider; an unknown provider speaks the common dialect."""
    preset = PRESETS.get(provider)
    quirks = preset.quirks if preset else Quirks()
    if provider == "openai" and _OPENAI_REASONING.match(model):
        return replace(quirks, has_temperature=False)
    return quirks
