"""What is wrong with a value, or with a schema that a stranger wrote: found in bounded time and without the network.

Deliberate differences from the standard: a reference to another document is never fetched; patterns are those of a
linear engine (no look-around, no back-references), others are not checked; `unevaluated…` is not checked. A schema
that is broken, or that takes too many steps, accepts everything: its owner validates again.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for
from jsonschema_specifications import REGISTRY
from pydantic_core import SchemaError, SchemaValidator, core_schema

from app.observability import neutral

Keyword = Callable[[Any, Any, Any, dict[str, Any]], "Iterator[ValidationError] | None"]

MAX_ERRORS = 50
MAX_STEPS = 50_000
"""Keywords that are looked at in one validation; some 0.2 s at worst."""
_STEPS = {"$ref": 20, "$dynamicRef": 20, "$recursiveRef": 20}
"""Steps of keywords that take longer than others."""
MAX_PATTERN = 2_000
MAX_MATCHED = 100_000
"""Characters of a pattern, and of a text that is matched; what is longer is not checked."""

_steps: ContextVar[int] = ContextVar("steps of a validation")


class _TooManySteps(Exception):
    pass


def validator_of(schema: dict[str, Any]) -> Any:
    """Raises whatever a stranger's schema provokes in the library."""
    dialect = validator_for(schema, default=Draft202012Validator)
    bounded = _bounded(dialect)
    for error in find_errors(bounded(dialect.META_SCHEMA, registry=REGISTRY), schema, cost=0):
        raise error
    return bounded(schema, registry=REGISTRY)


def in_words(exc: Exception) -> str:
    message = exc.message if isinstance(exc, ValidationError) else str(exc)
    return f"{type(exc).__name__}: {neutral.escape(message[:200])}"


def find_errors(validator: Any, value: object, *, cost: int) -> list[ValidationError]:
    """At most `MAX_ERRORS`. `cost`: steps that one error counts, for large values. Raises as `validator_of`."""
    _steps.set(MAX_STEPS)
    found: list[ValidationError] = []
    try:
        for error in itertools.islice(validator.iter_errors(value), MAX_ERRORS):
            found.append(error)
            _spend(cost)
    except _TooManySteps:
        if not found:
            raise
    return found


def is_match(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text, in linear time; patterns that cannot be checked count as found."""
    if len(text) > MAX_MATCHED:
        return True
    matcher = _matcher(pattern)
    return matcher is None or matcher.isinstance_python(text)


@functools.lru_cache(maxsize=512)
def _matcher(pattern: str) -> SchemaValidator | None:
    if len(pattern) > MAX_PATTERN:
        return None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None


def _spend(steps: int) -> None:
    left = _steps.get() - steps
    if left < 0:
        raise _TooManySteps(f"it takes more than {MAX_STEPS} steps")
    _steps.set(left)


@functools.lru_cache(maxsize=16)
def _bounded(dialect: Any) -> Any:
    """The validator of a dialect, with every keyword counted and the dangerous ones replaced."""
    keywords = {name: keyword for name, keyword in dialect.VALIDATORS.items() if name not in _UNCHECKED}
    keywords |= {name: keyword for name, keyword in _OURS.items() if name in keywords}
    counted = {name: _counted(keyword, _STEPS.get(name, 1)) for name, keyword in keywords.items()}
    nothing = {name: _accept for name in _UNCHECKED if name in dialect.VALIDATORS}
    types = dialect.TYPE_CHECKER.redefine("integer", _is_integer)
    validator: Any = extend(dialect, validators=counted | nothing, type_checker=types)
    validator.evolve = _evolve
    return validator


def _evolve(self: Any, **changes: Any) -> Any:
    """A validator of the same class for a part of the schema: the library's own would follow `$schema` to another."""
    kept = {field.alias: getattr(self, field.name) for field in self.__attrs_attrs__ if field.init}
    return type(self)(**(kept | changes))


def _is_integer(_checker: object, value: object) -> bool:
    """5.0 is none: it is turned into 5 before a tool gets it."""
    return isinstance(value, int) and not isinstance(value, bool)


def _counted(keyword: Keyword, least: int) -> Keyword:
    def count(validator: Any, value: Any, instance: Any, schema: dict[str, Any]) -> Iterator[ValidationError] | None:
        _spend(least + (len(value) if isinstance(value, (list, dict)) else 0))
        return keyword(validator, value, instance, schema)

    return count


def _accept(_validator: Any, _value: Any, _instance: Any, _schema: dict[str, Any]) -> None:
    return None


def _pattern(_validator: Any, pattern: Any, instance: Any, _schema: dict[str, Any]) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not is_match(pattern, instance):
        yield ValidationError("does not match the pattern")


def _pattern_properties(
    validator: Any, patterns: Any, instance: Any, _schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, part in patterns.items():
            _spend(len(instance))
            for name in [name for name in instance if is_match(pattern, name)]:
                yield from validator.descend(instance[name], part, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    _spend(len(instance) * len(patterns))
    unnamed = [name for name in instance if name not in schema.get("properties", {})]
    extras = [name for name in unnamed if not any(is_match(pattern, name) for pattern in patterns)]
    if isinstance(allowed, dict):
        for name in extras:
            yield from validator.descend(instance[name], allowed, path=name)
    elif not allowed and extras:
        yield ValidationError("unknown properties", validator_value=extras)


def _unique_items(_validator: Any, wanted: Any, instance: Any, _schema: dict[str, Any]) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list):
        texts = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(texts) < len(instance):
            yield ValidationError("has the same entry twice")


_UNCHECKED = ("unevaluatedProperties", "unevaluatedItems")
_OURS: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
