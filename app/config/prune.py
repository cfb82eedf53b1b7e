"""What is left of a configuration without its broken keys, so that the rest can be looked at in the same run."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from app.config.document import Key
from app.config.root import Config

# Others refer to these entries by name: a broken one is replaced, not removed.
_STAND_INS: dict[str, dict[str, Any]] = {
    "llms": {"type": "scripted"},
    "embedders": {},
    "document_stores": {"paths": ["."]},
}


def lacks_a_section(broken: Iterable[Key]) -> bool:
    """Whether a whole section cannot be read, so that what is left would be complained about for the wrong reason."""
    return any(len(key) == 1 and key[0] in Config.model_fields for key in broken)


def prune(values: dict[str, Any], broken: Iterable[Key]) -> dict[str, Any]:
    """A copy without the broken keys."""
    left = deepcopy(values)
    for key in broken:
        if key and key[0] in _STAND_INS and len(key) > 1 and isinstance(left.get(str(key[0])), dict):
            left[str(key[0])][str(key[1])] = dict(_STAND_INS[str(key[0])])
        else:
            _remove(left, key)
    return left


def _remove(place: Any, key: Key) -> None:
    for at, part in enumerate(key):
        inner = place.get(str(part)) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            return
        if at == len(key) - 1 or not isinstance(inner, dict):
            place.pop(str(part), None)
            return
        place = inner
