"""From an entry under `llms:` to a model that answers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from app.config.llm import LLMConfig, ScriptedAnswer
from app.llm.base import LLM
from app.llm.context import ASSUMED, Context
from app.llm.context_asking import Way
from app.llm.known_contexts import known_context
from app.llm.llama_cpp import CONTEXT, LlamaServer
from app.llm.local import LocalLLM
from app.llm.on_demand import LoadedOnDemand
from app.llm.openai_compatible import OpenAICompatible, OpenAISettings
from app.llm.presets import PRESETS, quirks_for
from app.llm.scripted import Answer, ScriptedCall, ScriptedLLM
from app.llm.transport import check_certificates
from app.llm.weights import FILE_NAME, weights_directory

LOCAL_MODEL = "smollm2-135m-instruct"

_OWN_SERVERS = ("ollama", "vllm")
"""Types whose operator decides how much of a model's context is served, whatever the model is called."""

_ON_DEMAND = ("ollama", "vllm")
_AGAINST_LOOPS = {"repeat_penalty": 1.1, "repeat_last_n": 256}
"""A model of this size falls into loops: one question in six ran for minutes without them."""


def build_llm(name: str, config: LLMConfig) -> LLM:
    """Nothing is started or connected before the first request.

    Raises:
        Unavailable: it is reached by TLS, and the certificates that the environment names are not there.
    """
    if config.type == "scripted":
        answers = [_answer(told) for told in config.script or ()]
        return ScriptedLLM(name, answers, context=_context_of(config, "scripted"))
    if config.type == "local":
        path = Path(config.model) if config.model else weights_directory() / FILE_NAME
        model = path.stem if config.model else LOCAL_MODEL
        settings = replace(_settings(name, config, model, "http://local/v1"), extra=_AGAINST_LOOPS)
        return LocalLLM(name, settings, LlamaServer(path, context=settings.context.tokens))
    model = config.model or ""
    if (config.host or PRESETS[config.type].base_url).startswith("https:"):
        check_certificates()
    kind = LoadedOnDemand if config.type in _ON_DEMAND else OpenAICompatible
    return kind(name, _settings(name, config, model, config.host or PRESETS[config.type].base_url))


def _answer(told: ScriptedAnswer) -> Answer:
    calls = tuple(ScriptedCall(call.name, call.arguments) for call in told.calls)
    return Answer(**{**dict(told), "calls": calls})


def _settings(name: str, config: LLMConfig, model: str, base_url: str) -> OpenAISettings:
    preset = PRESETS.get(config.type)
    return OpenAISettings(
        model=model,
        base_url=base_url,
        api_key=config.api_key.get_secret_value() if config.api_key is not None else None,
        # A server of one's own behind the same protocol often asks for no key.
        needs_key=preset is not None and preset.needs_key and config.host is None,
        key_name=_key_name(name, config),
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        connect_timeout=config.connect_timeout.total_seconds(),
        first_token_timeout=config.first_token_timeout.total_seconds(),
        idle_timeout=config.idle_timeout.total_seconds(),
        max_retries=config.max_retries,
        max_concurrency=config.max_concurrency,
        is_patient=config.type in ("local", "ollama", "vllm"),
        quirks=quirks_for(config.type, model),
        context=_context_of(config, model),
        asks_for_context=_way_of(config, model),
    )


def _context_of(config: LLMConfig, model: str) -> Context:
    """What the model takes in, as far as it is known before its provider is asked."""
    if config.context_window is not None:
        return Context(config.context_window, "configured")
    if config.is_embedded:
        return Context(CONTEXT, "embedded")
    if config.type == "local":
        return Context(CONTEXT, "usual")
    known = known_context(model) if config.type not in _OWN_SERVERS else None
    return Context(known, "known") if known is not None else ASSUMED


def _way_of(config: LLMConfig, model: str) -> Way | None:
    """How to ask for the context; `None` where nobody tells it, or where there is no need."""
    if config.context_window is not None or config.type == "local":
        return None
    if config.type == "ollama":
        return "ollama"
    if config.type in ("vllm", "openrouter"):
        return "models"
    return "models" if config.host is not None and known_context(model) is None else None


def _key_name(name: str, config: LLMConfig) -> str | None:
    """What to set or to check: the variable, unless the key came from elsewhere."""
    preset = PRESETS.get(config.type)
    variable = preset.key_variable if preset is not None else None
    key = config.api_key.get_secret_value() if config.api_key is not None else ""
    if key and os.environ.get(variable or "", "").strip() != key:
        return f"llms.{name}.api_key"
    return variable
