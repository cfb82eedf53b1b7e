"""From an entry under `llms:` to a model that answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.config.llm import LLMConfig
from app.llm.base import LLM
from app.llm.llama_cpp import LlamaServer
from app.llm.openai_compatible import LocalLLM, OpenAICompatible, OpenAISettings
from app.llm.presets import PRESETS, quirks_for
from app.llm.scripted import Answer, ScriptedLLM
from app.llm.weights import FILE_NAME, weights_directory

LOCAL_MODEL = "smollm2-135m-instruct"

_AGAINST_LOOPS = {"repeat_penalty": 1.1, "repeat_last_n": 256}
"""A model of this size falls into loops: one question in six ran for minutes without them."""


def build_llm(name: str, config: LLMConfig) -> LLM:
    """Nothing is started or connected before the first request."""
    if config.type == "scripted":
        return ScriptedLLM(name, [Answer(**dict(answer)) for answer in config.script or ()])
    if config.type == "local":
        path = Path(config.model) if config.model else weights_directory() / FILE_NAME
        model = path.stem if config.model else LOCAL_MODEL
        settings = replace(_settings(config, model, "http://local/v1"), extra=_AGAINST_LOOPS)
        return LocalLLM(name, settings, LlamaServer(path))
    model = config.model or ""
    return OpenAICompatible(name, _settings(config, model, config.host or PRESETS[config.type].base_url))


def _settings(config: LLMConfig, model: str, base_url: str) -> OpenAISettings:
    preset = PRESETS.get(config.type)
    return OpenAISettings(
        model=model,
        base_url=base_url,
        api_key=config.api_key.get_secret_value() if config.api_key is not None else None,
        # A server of one's own behind the same protocol often asks for no key.
        needs_key=preset is not None and preset.needs_key and config.host is None,
        key_name=preset.key_variable if preset is not None else None,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        connect_timeout=config.connect_timeout.total_seconds(),
        first_token_timeout=config.first_token_timeout.total_seconds(),
        idle_timeout=config.idle_timeout.total_seconds(),
        max_retries=config.max_retries,
        max_concurrency=config.max_concurrency,
        is_patient=config.type in ("local", "ollama", "vllm"),
        quirks=quirks_for(config.type, model),
    )
