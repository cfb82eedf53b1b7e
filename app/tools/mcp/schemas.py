"""Whether the schema that a server gives a tool can be used to check arguments. Schemas are foreign input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import SchemaError
from jsonschema.validators import validator_for

MAX_SCHEMA = 64 * 1024
"""Characters of JSON."""
MAX_WEIGHT = 1_000
"""How many schemas one value may have to be checked against: references make a small schema grow without bound."""

_LISTS = ("allOf", "anyOf", "oneOf")
_SINGLE = ("not", "if", "then", "else")


MAX_DEPTH = 100
_KEPT = 20_000


class SchemaChecks:
    """Checks schemas, and remembers what it found: a server may list thousands of tools again and again."""

    def __init__(self) -> None:
        self._found: dict[bytes, str | None] = {}

    def why_unfit(self, schema: Mapping[str, Any]) -> str | None:
        """Goes on after "its schema "; `None`: it is fit."""
        digest = hashlib.sha256(json.dumps(schema).encode()).digest()
        if digest not in self._found:
            if len(self._found) >= _KEPT:
                self._found.clear()
            try:
                check_schema(schema)
                self._found[digest] = None
            except UnfitSchema as unfit:
                self._found[digest] = str(unfit)
        return self._found[digest]


class UnfitSchema(Exception):
    """The message goes on after "its schema "."""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises UnfitSchema: the schema is not one of an object, not valid, too large, or refers to itself without end.

    Nothing is ever fetched: a reference must lead to a place in the schema itself.
    """
    if schema.get("type") != "object":
        raise UnfitSchema("is not that of an object")
    try:
        if len(json.dumps(schema)) > MAX_SCHEMA:
            raise UnfitSchema(f"is larger than {MAX_SCHEMA} characters")
        validator_for(schema).check_schema(schema)
        known: dict[int, int] = {}
        for part in _parts_of(schema):
            _weight(part, schema, known)
    except SchemaError as error:
        raise UnfitSchema(f"is not valid: {error.message[:200]}") from error
    except RecursionError as error:
        raise UnfitSchema("is nested too deeply") from error


def is_deep(value: object) -> bool:
    """Whether a JSON value is nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for part in level
            if isinstance(part, (dict, list))
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return False
    return True


def _parts_of(value: object) -> Iterator[Mapping[str, Any]]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _weight(part: object, root: Mapping[str, Any], known: dict[int, int]) -> int:
    """The number of schemas that a value is checked against if it is checked against `part`; 0 in `known`: begun."""
    if not isinstance(part, Mapping):
        return 1
    weight = known.get(id(part))
    if weight is None:
        known[id(part)] = 0
        weight = 1 + sum(_weight(other, root, known) for other in _applied(part, root))
        if weight > MAX_WEIGHT:
            raise UnfitSchema(f"grows to more than {MAX_WEIGHT} schemas by its references")
        known[id(part)] = weight
    if weight == 0:
        raise UnfitSchema("refers to itself without end")
    return weight


def _applied(part: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[object]:
    """The schemas that apply to the same value as `part` does."""
    for name in ("$ref", "$dynamicRef"):
        reference = part.get(name)
        if isinstance(reference, str):
            yield _place(reference, root)
    for name in _LISTS:
        several = part.get(name)
        yield from several if isinstance(several, list) else ()
    for name in _SINGLE:
        if name in part:
            yield part[name]
    dependent = part.get("dependentSchemas")
    yield from dependent.values() if isinstance(dependent, Mapping) else ()


def _place(reference: str, root: Mapping[str, Any]) -> object:
    if reference != "#" and not reference.startswith("#/"):
        raise UnfitSchema(f"refers to {reference[:200]!r}, which is not a place in it")
    found: Any = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (LookupError, TypeError, ValueError):
            raise UnfitSchema(f"refers to {reference[:200]!r}, which it does not have") from None
    return found
