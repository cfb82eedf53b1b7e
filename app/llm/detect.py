"""Which model to serve when there is no configuration: that of a key in the environment, an Ollama that runs, or ours.

Imports nothing heavy: the look at Ollama runs beside the imports of the server.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.config.address import ollama_address
from app.llm.presets import PRESETS

PROBE_SECONDS = 0.25
_MAX_ANSWER = 1 << 20
_IS_NO_CHAT = re.compile("embed|bge-|minilm")
HOW_TO_CHANGE = "`hector init` writes a config.yaml to change that"


@dataclass(frozen=True, slots=True)
class Choice:
    """`llm`: an entry of `llms` and its name, `None` for the embedded model. `because`: what it was chosen for."""

    name: str
    llm: dict[str, Any] | None
    because: str
    others: tuple[str, ...] = ()
    """Further models of the same provider that are there."""

    @property
    def model(self) -> str:
        """Its name for people."""
        if self.llm is None:
            return "the embedded model"
        return f"{self.llm.get('model', 'a model')} ({self.llm['type']})"

    @property
    def sentence(self) -> str:
        also = f"; also there: {', '.join(self.others[:5])}" if self.others else ""
        return f"On {self.model}, because {self.because}{also}; {HOW_TO_CHANGE}."

    def as_values(self) -> dict[str, Any]:
        """What a configuration file would say."""
        agent: dict[str, Any] = {"description": self.sentence}
        if self.llm is None:
            return {"agents": {"assistant": agent}}
        return {"llms": {self.name: self.llm}, "agents": {"assistant": agent | {"llm": self.name}}}


class Probe:
    """A look at Ollama that has begun and takes at most `PROBE_SECONDS`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.host = ollama_address(environ.get("OLLAMA_HOST", ""))
        self._models: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._ask, name="look for Ollama", daemon=True)
        self._thread.start()

    def models(self) -> tuple[str, ...]:
        """The models it has that can chat, the newest first; none if it does not run."""
        self._thread.join(2 * PROBE_SECONDS)
        return self._models

    def _ask(self) -> None:
        parts = urlsplit(self.host)
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PROBE_SECONDS)
            with contextlib.closing(connection):
                connection.request("GET", "/api/tags")
                answer = connection.getresponse()
                if answer.status == 200:
                    self._models = _chat_models(json.loads(answer.read(_MAX_ANSWER)))


def choose(environ: Mapping[str, str], probe: Probe | None = None) -> Choice:
    """The model to serve: by key first, then Ollama, then the embedded one."""
    for name, preset in PRESETS.items():
        if preset.key_variable is not None and environ.get(preset.key_variable, "").strip():
            return _by_key(name, environ)
    address, model = (environ.get(variable, "").strip() for variable in ("OPENAI_BASE_URL", "OPENAI_MODEL"))
    if address and model:
        return Choice("vllm", {"type": "vllm", "model": model, "host": address}, "OPENAI_BASE_URL is set")
    models = (probe or Probe(environ)).models()
    if models:
        named = environ.get("OLLAMA_MODEL", "").strip() or models[0]
        entry = {"type": "ollama", "model": named}
        return Choice("ollama", entry, "Ollama runs here", tuple(one for one in models if one != named))
    return Choice("local", None, "no key is set (OPENAI_API_KEY, …) and no Ollama runs here")


def _by_key(name: str, environ: Mapping[str, str]) -> Choice:
    preset = PRESETS[name]
    assert preset.key_variable is not None
    named = environ.get(f"{name.upper()}_MODEL", "").strip()
    entry = {"type": name, "model": named or preset.model}
    return Choice(name, entry, f"{preset.key_variable} is set")


def _chat_models(answer: object) -> tuple[str, ...]:
    found = answer.get("models") if isinstance(answer, dict) else None
    names = [one.get("name") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return tuple(name for name in names if isinstance(name, str) and name and not _IS_NO_CHAT.search(name))
