"""The keys that the models know, as dotted paths; and the one that somebody probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from app.config.document import Key
from app.config.near import near_name
from app.config.root import Config
from app.config.section import Section
from app.config.tool_types import SECTIONS, PythonConfig, TimedSection
from app.config.tools import ToolsConfig


@dataclass(frozen=True, slots=True)
class SchemaKey:
    """One key that holds a value, not further keys. `<name>` and `[]` stand for any name, any item."""

    parts: tuple[str, ...]
    field: FieldInfo
    section: type[Section]
    """Where it is declared."""

    @property
    def dotted(self) -> str:
        return dotted(self.parts)

    @property
    def is_scalar(self) -> bool:
        kinds = (self.field.annotation, *get_args(self.field.annotation))
        return not any(get_origin(kind) in (dict, tuple) for kind in kinds)


@cache
def schema_keys() -> tuple[SchemaKey, ...]:
    """Every key of the schema, in the order of the models."""
    return tuple(_walk(Config, ()))


def dotted(key: Iterable[str | int]) -> str:
    """`agents.assistant.llm`, `llms.demo.script[0].text`."""
    text = ""
    for part in key:
        if isinstance(part, int) or part == "[]":
            text += part if isinstance(part, str) else f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say about an unknown key among the known ones of its place."""
    names = list(known)
    near = near_name(name, names)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"known here: {', '.join(sorted(names))}" if names else "nothing belongs here"


def explain_unknown(key: Key, tool: type[Section] | None = None) -> str:
    """What to say about a key that its place does not know: where it belongs in its section, else the nearest there.

    `tool` is what may be said of the tool that the key belongs to, if it does.
    """
    section = tool or _section_at(key[:-1])
    name = str(key[-1])
    names = list(section.known_keys()) if section else []
    if tool is not None:
        return f"unknown key; {nearest(name, names)}"
    homes = {known.parts[:end] for known in schema_keys() for end, part in enumerate(known.parts) if part == name}
    homes = {home for home in homes if home and _is_beside(home, key[:-1])}
    if len(homes) == 1:
        return f"unknown key; {name!r} belongs under {dotted(homes.pop())}"
    return f"unknown key; {nearest(name, names)}"


def _is_beside(home: tuple[str, ...], place: Key) -> bool:
    """Whether one contains the other: a hint never leads into a section that is about something else."""
    if home[:2] == ("tools", "<name>") and place[:2] == ("tools", "mcp"):
        return False
    return all(part in ("<name>", "[]") or part == str(there) for part, there in zip(home, place, strict=False))


def _walk(section: type[Section], above: tuple[str, ...]) -> Iterator[SchemaKey]:
    for name, field in section.known_keys().items():
        at = (*above, name)
        inner, step = _inside(field.annotation)
        if inner is None or step == ("[]",):
            yield SchemaKey(at, field, section)
        if inner is not None:
            yield from _walk(inner, (*at, *step))
    if issubclass(section, ToolsConfig):
        yield from _walk_tools(above)


def _walk_tools(above: tuple[str, ...]) -> Iterator[SchemaKey]:
    """The keys of every tool under `<name>`, further ones under the first type that has them."""
    every = {"type": PythonConfig.model_fields["type"], **TimedSection.known_keys()}
    yield from (SchemaKey((*above, "<name>", name), field, PythonConfig) for name, field in every.items())
    seen: set[type[Section]] = set()
    for kind, section in SECTIONS.items():
        place = "<name>" if section is PythonConfig else kind
        for name, field in section.known_keys().items() if section not in seen else ():
            seen.add(section)
            if name not in every or (name != "type" and name in section.__annotations__):
                yield SchemaKey((*above, place, name), field, section)


def _inside(annotation: Any) -> tuple[type[Section] | None, tuple[str, ...]]:
    """The section that an annotation leads to, and what stands in between: `<name>`, `[]` or nothing."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ()
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return _inside(arguments[0])
    if origin is dict:
        return _inside(arguments[1])[0], ("<name>",)
    if origin is tuple:
        return _inside(arguments[0])[0], ("[]",)
    found = [inside for inside in map(_inside, arguments) if inside[0] is not None]
    return found[0] if found else (None, ())


def _section_at(key: Key) -> type[Section] | None:
    section: type[Section] | None = Config
    parts = iter(key)
    for part in parts:
        field = section.known_keys().get(str(part)) if section else None
        if field is None:
            return None
        section, step = _inside(field.annotation)
        if step:
            next(parts, None)
    return section
