"""hector init: a short configuration for the model that would be served without one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.config.dotenv import read_dotenv
from app.config.find import FILES
from app.llm.detect import Choice, choose
from app.llm.presets import PRESETS

OK, REFUSED, FAILED = 0, 2, 3

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


def init(path: Path) -> int:
    """Write the file. The exit code: 2 there is one already, 3 it cannot be written."""
    rivals = [path, *[path.parent / name for name in FILES]]
    found = next((one for one in rivals if os.path.lexists(one)), None)
    if found is not None:
        print(f"hector: there is {found} already; nothing was written", file=sys.stderr)
        return REFUSED
    choice = choose({**read_dotenv(Path.cwd()), **os.environ})
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_TEXT.format(entry=_entry(choice), name=choice.name))
    except OSError as error:
        print(f"hector: {path} cannot be written: {(error.strerror or 'unknown reason').lower()}", file=sys.stderr)
        return FAILED
    print(f"{path}: {choice.model}, because {choice.because}")
    return OK


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
