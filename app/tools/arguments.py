"""Arguments of a call: from the JSON text that a model wrote to a dict that fits the tool's schema, and to one line."""

from __future__ import annotations

import functools
import json
import math
import operator
import re
from typing import TYPE_CHECKING, Any

import orjson

from app.observability import neutral
from app.tools.mistakes import cut, kind, sentences, wanted_types
from app.tools.schemas import Schema, compiled

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_DEPTH = 64
MAX_ROUNDS = 4
"""How often values are turned into what the schema wants: a text may hold an object that holds a text."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.0{1,30})?")
_LONG_NUMBER = re.compile("[0-9]{19}")
_WORDS = {"true": True, "True": True, "false": False, "False": False}
_NOTHING = {"null", "None"}
_NOT_CONVERTED = object()


class BadArguments(ValueError):
    """What a model wrote does not fit; the message tells the model everything that it has to mend."""


def parse(arguments: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the tool takes them. Nothing written means no arguments.

    Mended in silence is what loses nothing: JSON within a JSON string, line breaks within a string, and where the
    schema wants another type `"5"`, `5.0`, `"true"`, `"null"`, the JSON text of a list or an object, and 5 for `"5"`.

    Raises:
        BadArguments: it is no JSON object, or does not fit the schema.
    """
    value = read(arguments)
    if not isinstance(value, dict):
        raise BadArguments(f"The arguments must be a JSON object, not {kind(value)}. Write them again.")
    fitting, mistakes = fit(value, compiled(schema), size=len(arguments))
    if mistakes:
        raise BadArguments("The arguments do not fit: " + "; ".join(mistakes) + ". Write the call again.")
    found: dict[str, Any] = fitting
    return found


def fit(value: Any, schema: Schema, *, size: int = 0) -> tuple[Any, list[str]]:
    """The value with types mended, and a sentence for each mistake that is left, at most `MAX_TOLD` and one.

    `value` is changed in place. `size`: about how many characters it has.
    """
    cost = size // 4096
    errors = schema.find_errors(value, cost=cost)
    for _ in range(MAX_ROUNDS):
        results = [_mend(value, error) for error in errors]
        if not any(results):
            break
        errors = schema.find_errors(value, cost=cost)
    return value, sentences(errors)


def read(text: str) -> Any:
    """The JSON value of a text that a model wrote; one that is encoded twice is decoded twice.

    Raises:
        BadArguments: it is no JSON, with the place; or it is nested too deeply.
    """
    value: Any = _decode(text) if text.strip() else {}
    for _ in range(2):
        if isinstance(value, str) and value.lstrip().startswith(("{", '"')):
            value = _decode(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    if _is_deeper(value, MAX_DEPTH):
        raise BadArguments(f"The arguments are nested deeper than {MAX_DEPTH} levels.")
    return value


def _decode(text: str) -> Any:
    if not _LONG_NUMBER.search(text):  # orjson rounds it
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # the standard library is more lenient, and says where
    try:
        return _with_whole_characters(json.loads(text, strict=False, parse_constant=_refuse))
    except BadArguments:
        raise
    except json.JSONDecodeError as exc:
        near = neutral.escape(text[max(exc.pos - 20, 0) : exc.pos + 20])
        raise BadArguments(
            f"The arguments are no valid JSON: {exc.msg} at line {exc.lineno}, column {exc.colno} (near {near!r}). "
            "Write them again as one JSON object."
        ) from exc
    except RecursionError as exc:
        raise BadArguments(f"The arguments are nested deeper than {MAX_DEPTH} levels.") from exc
    except ValueError as exc:  # the interpreter's limit for digits
        raise BadArguments("The arguments have a number of too many digits.") from exc


def _refuse(constant: str) -> None:
    raise BadArguments(f"The arguments are no valid JSON: there is no number {constant}.")


def _with_whole_characters(value: Any) -> Any:
    """The value with halves of characters, which nothing can store, as U+FFFD."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isascii():
        return value
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value if whole == text else json.loads(whole)


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _mend(root: Any, error: ValidationError) -> bool:
    """Turn the value of an error into the type that is wanted, where that loses nothing; whether it was possible."""
    path = list(error.absolute_path)
    if not path:
        return False
    key = path.pop()
    holder = functools.reduce(operator.getitem, path, root)
    if _has_not(holder, key, error.instance):
        return False
    if error.instance is None and _is_of_property(error):
        del holder[key]  # if it is required, that is told next
        return True
    for wanted in wanted_types(error):
        converted = _convert(error.instance, wanted)
        if converted is not _NOT_CONVERTED:
            holder[key] = converted
            return True
    return False


def _has_not(holder: Any, key: Any, instance: object) -> bool:
    """Whether the place was mended for another error already."""
    return (isinstance(holder, dict) and key not in holder) or holder[key] is not instance


def _is_of_property(error: ValidationError) -> bool:
    return error.validator == "type" and list(error.absolute_schema_path)[-3:-2] == ["properties"]


def _convert(value: Any, wanted: str) -> Any:
    if isinstance(value, str):
        return _convert_text(value.strip(), wanted)
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if wanted == "string" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _NOT_CONVERTED


def _convert_text(text: str, wanted: str) -> Any:
    match wanted:
        case "integer" if _INTEGER.fullmatch(text):
            return int(text.partition(".")[0])
        case "number" if len(text) <= 40 and text[:1] in "-0123456789":
            return _number(text)
        case "boolean":
            return _WORDS.get(text, _NOT_CONVERTED)
        case "null" if text in _NOTHING:
            return None
        case "object" | "array" if text[:1] == ("{" if wanted == "object" else "["):
            try:
                inner = _decode(text)
            except BadArguments:
                return _NOT_CONVERTED
            return _NOT_CONVERTED if _is_deeper(inner, MAX_DEPTH // 2) else inner
    return _NOT_CONVERTED


def _number(text: str) -> Any:
    try:
        number = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _NOT_CONVERTED
    return number if isinstance(number, (int, float)) and math.isfinite(number) else _NOT_CONVERTED


def describe(name: str, arguments: dict[str, Any] | str, schema: dict[str, Any] | None = None, limit: int = 200) -> str:
    """A call on one line of at most `limit` characters, safe for a terminal: `write_file("notes.txt", "Hello")`.

    The values stand in the order of the schema's properties. `arguments` that could not be read are shown as written.
    """
    name = cut(name, limit // 2)
    room = limit - len(name) - 2
    if isinstance(arguments, str):
        return f"{name}({cut(arguments, room)})"
    properties = (schema or {}).get("properties")
    order = dict.fromkeys(key for key in properties if key in arguments) if isinstance(properties, dict) else {}
    keys = [*order, *(key for key in arguments if key not in order)]
    inside = ", ".join(_one_line(arguments[key], room) for key in keys[:room])
    return f"{name}({inside if len(inside) <= room else inside[: room - 1] + '…'})"


def _one_line(value: Any, room: int) -> str:
    if isinstance(value, str):
        value = value[: room + 1]
    return neutral.escape(json.dumps(value, ensure_ascii=False, default=str))
