"""hector init: a short configuration, for the provider that is chosen, or the model served without a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from app.cli.inspect import missing_of_llm
from app.cli.without_file import NO_FLAGS, QuickFlags, choose_model
from app.config.dotenv import read_dotenv
from app.config.find import FILES
from app.config.load import ConfigError, load_config
from app.llm.detect import Choice, Probe
from app.llm.presets import PRESETS

OK, REFUSED, FAILED, INTERRUPTED = 0, 2, 3, 130
Ask = Callable[[str], str]
"""Shows a question and returns what was typed. Raises EOFError, KeyboardInterrupt."""
_LOCAL = "local"

_TEXT = """\
# Hector's configuration: docs/configuration.md explains every key, `hector check` says what is wrong here.
llms:
  {entry}
agents:
  assistant:                        # in addresses: /agents/assistant/...
    llm: {name}
    prompt:
      system_role: You are a helpful assistant.
    #memory:                        # remember across a user's sessions
      #longterm: {{storage_scope: conversational}}
"""


def init(path: Path, flags: QuickFlags = NO_FLAGS, ask: Ask | None = None) -> int:
    """Write the file, and check it. `ask`: lets the user choose provider and model, unless `flags` name them.

    The exit code: 2 there is a file already, or no such provider; 3 it cannot be written; 130 the user left.
    """
    rivals = [path, *[path.parent / name for name in FILES]]
    found = next((one for one in rivals if os.path.lexists(one)), None)
    if found is not None:
        print(f"hector: there is {found} already; nothing was written", file=sys.stderr)
        return REFUSED
    environ = {**read_dotenv(Path.cwd()), **os.environ}
    try:
        choice = _choose(flags, environ, ask if not flags.names_a_model else None)
    except ConfigError as error:
        print(f"hector: {error}", file=sys.stderr)
        return REFUSED
    except (EOFError, KeyboardInterrupt):
        print()
        return INTERRUPTED
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_TEXT.format(entry=_entry(choice), name=choice.name))
    except OSError as error:
        print(f"hector: {path} cannot be written: {(error.strerror or 'unknown reason').lower()}", file=sys.stderr)
        return FAILED
    print(f"{path}: {choice.model}, because {choice.because}")
    loaded = load_config(path, environ=environ)
    missing = missing_of_llm(choice.name, loaded.config)
    print("now: hector serve" if missing is None else f"before hector serve: {_to_do(choice, missing)}")
    return OK


def _choose(flags: QuickFlags, environ: Mapping[str, str], ask: Ask | None) -> Choice:
    probe = Probe(environ)
    usual = choose_model(flags, environ, probe)
    if ask is None:
        return usual
    kinds = [*PRESETS, _LOCAL]
    for number, kind in enumerate(kinds, 1):
        print(f"{number}  {kind:<12}{_about(kind, environ, probe)}")
    kind = _ask_kind(ask, kinds, _LOCAL if usual.llm is None else str(usual.llm["type"]))
    if kind == _LOCAL:
        return Choice(_LOCAL, None, "you chose it")
    known = choose_model(QuickFlags(provider=kind), environ, probe).llm or {}
    model = ""
    while not model:
        default = str(known.get("model", ""))
        model = ask(f"Model [{default}]: " if default else "Model: ").strip() or default
    return replace(choose_model(QuickFlags(provider=kind, model=model), environ, probe), because="you chose it")


def _ask_kind(ask: Ask, kinds: list[str], default: str) -> str:
    while True:
        typed = ask(f"Provider [{default}]: ").strip().lower() or default
        if typed in kinds:
            return typed
        if typed.isdecimal() and 1 <= int(typed) <= len(kinds):
            return kinds[int(typed) - 1]
        print(f"a number from 1 to {len(kinds)}, or a name of the list")


def _about(kind: str, environ: Mapping[str, str], probe: Probe) -> str:
    if kind == _LOCAL:
        return "the embedded model: it demonstrates the server, no more"
    if kind == "ollama":
        models = probe.models()
        return f"runs here with {', '.join(models[:3])}" if models else "does not run here now"
    variable = PRESETS[kind].key_variable
    if variable is None:
        return PRESETS[kind].base_url
    return f"{variable} is set" if environ.get(variable, "").strip() else f"needs {variable}"


def _to_do(choice: Choice, missing: str) -> str:
    variable = PRESETS[choice.llm["type"]].key_variable if choice.llm is not None else None
    return f"export {variable}=…" if variable is not None else missing


def _entry(choice: Choice) -> str:
    if choice.llm is None:
        return "local: {type: local}              # the embedded model: it demonstrates the server, no more"
    said = ", ".join(f"{key}: {_quoted(value)}" for key, value in choice.llm.items())
    variable = PRESETS[choice.llm["type"]].key_variable
    source = f"  # its key: {variable}" if variable is not None else ""
    return f"{choice.name}: {{{said}}}{source}"


def _quoted(value: object) -> str:
    text = str(value)
    return text if text.replace("-", "").replace(".", "").replace("/", "").isalnum() else f'"{text}"'
