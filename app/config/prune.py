"""What is left of a configuration without its broken keys, so that the rest can be looked at in the same run."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from app.config.document import Key
from app.config.root import Config
from app.config.tools import ToolsConfig

# Others refer to these entries by name: a broken one is replaced, and removed only if its name is what is broken.
_STAND_INS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("llms",), {"type": "scripted"}),
    (("embedders",), {}),
    (("document_stores",), {"paths": ["."]}),
    (("tools", "mcp"), {"command": "mcp"}),
    (("tools",), {"type": "ask_user"}),
)


def lacks_a_section(broken: Iterable[Key]) -> bool:
    """Whether a whole section cannot be read, so that what is left would be complained about for the wrong reason."""
    return any(len(key) == 1 and key[0] in Config.model_fields for key in broken)


def prune(values: dict[str, Any], broken: Iterable[Key]) -> dict[str, Any]:
    """A copy without the broken keys."""
    left = deepcopy(values)
    for key in broken:
        if not _replace(left, key):
            _remove(left, key)
    return left


def _replace(left: dict[str, Any], key: Key) -> bool:
    """Put a stand-in for the entry that a key belongs to, if it belongs to one that others refer to."""
    for section, stand_in in _STAND_INS:
        if key[: len(section)] != section or len(key) <= len(section):
            continue
        name = str(key[len(section)])
        if section == ("tools",) and name in ToolsConfig.model_fields:
            return False
        entries: Any = left
        for part in section:
            entries = entries.get(part) if isinstance(entries, dict) else None
        if not isinstance(entries, dict) or entries.get(name) == stand_in:
            return False
        entries[name] = dict(stand_in)
        return True
    return False


def _remove(place: Any, key: Key) -> None:
    for at, part in enumerate(key):
        inner = place.get(str(part)) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            return
        if at == len(key) - 1 or not isinstance(inner, dict):
            place.pop(str(part), None)
            return
        place = inner
