"""Asking a provider how many tokens a model takes in: the list of models of the OpenAI dialect, and Ollama."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from app.llm.context import Told

Way = Literal["models", "ollama"]

Fetch = Callable[[str, object], Awaitable[object]]
"""From a path below the address of the API (`../`: above it) and a body (`None`: GET) to the JSON of the answer."""

_FIELDS = (
    "max_model_len",  # vLLM, SGLang
    "loaded_context_length",  # LM Studio
    "context_length",  # OpenRouter, Together
    "context_window",  # Groq
    "max_context_length",  # Mistral
    "max_input_tokens",
    "n_ctx",  # llama.cpp, below `meta`
)
_NUM_CTX = re.compile(r"^\s*num_ctx\s+(\d{1,9})\s*$", re.MULTILINE)
_OLD_OLLAMA = 4_096
"""Context of a loaded model where Ollama is too old to say it: its default."""


async def ask(way: Way, fetch: Fetch, model: str) -> Told | None:
    """What the provider says; `None` if it says nothing.

    Raises:
        OSError, httpx2.HTTPError: it cannot be reached.
    """
    return await (_ask_ollama if way == "ollama" else _ask_models)(fetch, model)


async def _ask_models(fetch: Fetch, model: str) -> Told | None:
    entries = _dicts(await fetch("models", None), "data", "models")
    found = next((entry for entry in entries if model in (entry.get("id"), entry.get("root"), entry.get("name"))), None)
    if found is None:
        found = entries[0] if len(entries) == 1 else {}
    places = [found, *[found[name] for name in ("top_provider", "meta") if isinstance(found.get(name), dict)]]
    sizes = [place[name] for place in places for name in _FIELDS if _is_size(place.get(name))]
    return Told(min(sizes)) if sizes else None


async def _ask_ollama(fetch: Fetch, model: str) -> Told | None:
    """The context of the loaded model; else the one it would be loaded with, as far as the model says.

    What a model can do is not what it is loaded with: the server's own setting, which it does not tell, is mostly less.
    """
    names = (model, f"{model}:latest")
    running = _dicts(await fetch("../api/ps", None), "models")
    loaded = next((entry for entry in running if entry.get("model") in names or entry.get("name") in names), None)
    if loaded is not None and _is_size(loaded.get("context_length")):
        return Told(loaded["context_length"])
    shown = await fetch("../api/show", {"model": model})
    if not isinstance(shown, dict):
        return None
    chosen = _NUM_CTX.search(str(shown.get("parameters")))
    if chosen is not None:
        return Told(int(chosen[1]))
    facts = shown.get("model_info")
    sizes = (
        [size for name, size in facts.items() if name.endswith(".context_length")] if isinstance(facts, dict) else []
    )
    if not sizes or not _is_size(sizes[0]):
        return None
    return Told(min(sizes[0], _OLD_OLLAMA)) if loaded is not None else Told(sizes[0], is_final=False)


def _dicts(body: object, *names: str) -> list[dict[str, Any]]:
    """The objects in the first list of these names."""
    lists = [body[name] for name in names if isinstance(body.get(name), list)] if isinstance(body, dict) else []
    return [entry for entry in lists[0] if isinstance(entry, dict)] if lists else []


def _is_size(size: object) -> bool:
    return type(size) is int and 0 < size < 2**31
