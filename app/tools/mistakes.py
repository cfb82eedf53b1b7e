"""What is wrong with the arguments of a call, in sentences that a model can act on; all of bounded length."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from app.observability import neutral

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_TOLD = 8
"""Mistakes that are told at once."""
_SHOWN = 60
"""Characters of a value that are quoted."""


def wanted_types(error: ValidationError) -> list[str]:
    """The types that are allowed at the place of the error; of alternatives those that fail for their type."""
    if error.validator in ("anyOf", "oneOf"):
        inner = [e for e in error.context or () if e.validator == "type" and not e.relative_path]
        return [wanted for e in inner for wanted in wanted_types(e)]
    if error.validator != "type":
        return []
    types = error.validator_value
    return [types] if isinstance(types, str) else [name for name in types if isinstance(name, str)]


def sentences(errors: Iterable[ValidationError], *, root: str = "the call") -> list[str]:
    """A sentence for each mistake, at most `MAX_TOLD` and one that says how many more there are.

    `root`: what the value as a whole is called.
    """
    found = list(dict.fromkeys(_sentence(error, root) for error in errors))
    more = len(found) - MAX_TOLD
    return found if more <= 0 else [*found[:MAX_TOLD], f"and {more} more mistakes"]


def _sentence(error: ValidationError, root: str) -> str:
    path = error.json_path.removeprefix("$").removeprefix(".")
    return f"{cut(path, 100) or root} {_what(error)}"


def _what(error: ValidationError) -> str:
    value, instance = error.validator_value, error.instance
    match error.validator:
        case "type":
            return f"must be {_either(wanted_types(error))}, not {_shown(instance)}"
        case "required":
            return f"lacks {_names(name for name in value if name not in instance)}"
        case "additionalProperties":
            return _unknown(value, error.schema)
        case "enum":
            more = ", …" if len(value) > 20 else ""
            return f"must be one of {', '.join(map(_shown, value[:20]))}{more}, not {_shown(instance)}"
        case "const":
            return f"must be {_shown(value)}, not {_shown(instance)}"
        case "pattern":
            return f"must match the pattern {cut(value, 200)}, not be {_shown(instance)}"
        case "uniqueItems":
            return "has the same entry twice"
        case "anyOf" | "oneOf" if error.context:
            return "fits none of the alternatives: " + _alternatives(error)
        case name if name in _BOUNDS:
            return f"{_BOUNDS[name].format(value)}, not {_shown(instance)}"
    if error.validator is None:
        return "is not allowed"
    return cut(f"does not keep to {error.validator!r}: {_shown(value)}", 200)


_BOUNDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} entries",
    "maxItems": "must have at most {} entries",
}


def _alternatives(error: ValidationError) -> str:
    sentences = list(dict.fromkeys(_inner_sentence(inner) for inner in error.context[:4]))
    return " or ".join(sentences)


def _inner_sentence(error: ValidationError) -> str:
    path = ".".join(map(str, error.relative_path))
    what = "is nested" if error.context else _what(error)
    return f"{cut(path, 60)} {what}" if path else what


def _unknown(extras: Any, schema: Any) -> str:
    known = list(schema.get("properties", {}))
    close = [match for name in extras[:3] for match in difflib.get_close_matches(name[:60], known[:100], 1)]
    hint = f" (did you mean {_names(close)}?)" if close else ""
    return f"cannot have {_names(extras)}{hint}; it takes {_names(known) if known else 'none'}"


def _names(names: Iterable[str]) -> str:
    listed = [f"`{cut(str(name), 60)}`" for name in names]
    return ", ".join(listed[:12]) + (", …" if len(listed) > 12 else "")


def _either(types: list[str]) -> str:
    return " or ".join(_ARTICLES.get(name, name) for name in types)


_ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


def kind(value: Any) -> str:
    """What a JSON value is, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
    return "a number"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        start = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
        return neutral.escape(json.dumps(start, ensure_ascii=False))
    if isinstance(value, (dict, list)):
        return kind(value)
    return cut(json.dumps(value, default=str), _SHOWN)


def cut(text: str, length: int) -> str:
    """The beginning of a text on one line, safe for a terminal."""
    text = neutral.escape(text[: length + 1])
    return text if len(text) <= length else text[: length - 1] + "…"
