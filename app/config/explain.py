"""What a refused configuration got wrong, in sentences. No sentence contains a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.config.document import Key
from app.config.keys import explain_unknown
from app.config.section import Problems, Section
from app.config.tool_types import SECTIONS
from app.config.variables import may_be_shown

_MAPPING = "must be a mapping (key: value)"
_SENTENCES = {
    "missing": "is needed",
    "model_type": _MAPPING,
    "dict_type": _MAPPING,
    "tuple_type": "has to be a list",
    "string_type": "has to be text; put a number, true or false in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": "has to be text",
}
# Sections and keys that hold secrets, or addresses with a password in them.
_NEVER_QUOTED = {"auth", "storage", "redis", "api_key", "host", "url", "public_url", "env", "headers"}


def explain(error: ValidationError, written: Mapping[str, Any], filled: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    """Key and sentence of each problem. `written` is the file before `${NAME}` was filled in, `filled` after."""
    for detail in error.errors(include_url=False, include_input=False):
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Problems):
            yield from cause.found.items()
            continue
        key, tool = _place(detail)
        yield key, _sentence(detail, key, tool) + _quote(detail["type"], key, written, filled)


def _place(detail: ErrorDetails) -> tuple[Key, type[Section] | None]:
    """The key, and what may be said of the tool that it belongs to: of tools, pydantic names the type, too."""
    key: Key = tuple(part for part in detail["loc"] if part != "[key]")
    if len(key) > 2 and key[0] == "tools" and key[1] != "mcp":
        return (*key[:2], *key[3:]), SECTIONS[str(key[2])]
    return key, None


def _sentence(detail: ErrorDetails, key: Key, tool: type[Section] | None) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return explain_unknown(key, tool)
    if kind == "value_error":
        return str(context["error"])
    if kind in _SENTENCES:
        return _SENTENCES[kind]
    sentence = detail["msg"]
    for theirs, ours in (("Input should be", "must be"), ("String should", "must"), ("Tuple should", "must")):
        sentence = sentence.replace(theirs, ours)
    return sentence


def _quote(kind: str, key: Key, written: Any, filled: Any) -> str:
    if kind in ("extra_forbidden", "missing", "string_type") or not _NEVER_QUOTED.isdisjoint(key):
        return ""
    text, value = _at(key, written), _at(key, filled)
    if not isinstance(text, str | int | float):
        return ""
    if isinstance(text, str) and "${" in text and may_be_shown(text):
        return f" (got {value!r} from {text})"
    return f" (got {text!r})"


def _at(key: Key, value: Any) -> Any:
    for part in key:
        if isinstance(value, Mapping):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value
