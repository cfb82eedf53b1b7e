"""A YAML file as plain values that remember the line they stand on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from app.config.syntax import explain_syntax

Key = tuple[str | int, ...]

_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_AS_VALUE = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float")}
_AS_TEXT = {_STRING, "tag:yaml.org,2002:timestamp"}


MAX_VALUES = 100_000
"""Keys, values and list items of a file. Aliases of aliases turn a few lines into billions."""


class DocumentError(Exception):
    """The text cannot be read as YAML, or says the same thing twice. `found`: (line, what is wrong)."""

    def __init__(self, *found: tuple[int, str]) -> None:
        super().__init__(found)
        self.found = found


@dataclass(slots=True)
class Document:
    """`values` is what the file says; `lines` has the line (from 1) of every key and list item in it."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Key, int] = field(default_factory=dict)


def read_document(text: str) -> Document:
    """The mapping that the text contains; nothing but comments is an empty one.

    Raises:
        DocumentError: broken syntax, a key twice in a mapping, no mapping. Never quotes a value.
    """
    loader = yaml.SafeLoader("")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None or root.tag == _NULL:
            return Document()
        if not isinstance(root, MappingNode):
            raise DocumentError((_line(root), "the file must be a mapping (key: value)"))
        repeated = tuple(_repeated_keys(root, (), set()))
        if repeated:
            raise DocumentError(*repeated)
        if _size(root, {}) > MAX_VALUES:
            raise DocumentError((1, f"its aliases stand for more than {MAX_VALUES} keys and values"))
        document = Document()
        document.values = _mapping(root, (), document.lines, loader)
        return document
    except yaml.MarkedYAMLError as error:
        raise DocumentError(explain_syntax(error, text)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError((line, "a character that YAML does not allow")) from None
    except RecursionError:
        raise DocumentError((1, "is nested too deeply")) from None
    finally:
        loader.dispose()


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _size(node: Node, known: dict[int, int]) -> int:
    """Keys, values and list items in a node, those of its aliases counted each time. There are no circles."""
    if isinstance(node, ScalarNode):
        return 1
    size = known.get(id(node))
    if size is None:
        inner = node.value if isinstance(node, SequenceNode) else [one for pair in node.value for one in pair]
        size = known[id(node)] = 1 + sum([_size(one, known) for one in inner])
    return size


def _repeated_keys(node: Node, above: tuple[int, ...], seen: set[int]) -> Iterator[tuple[int, str]]:
    """Walks before merge keys (`<<`) are resolved: afterwards a repetition can be an override."""
    if id(node) in above:
        raise DocumentError((_line(node), "an alias stands inside its own anchor"))
    if id(node) in seen or isinstance(node, ScalarNode):
        return
    seen.add(id(node))
    above = (*above, id(node))
    if isinstance(node, SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item, above, seen)
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            raise DocumentError((_line(key), "a key has to be a single word"))
        name = _name(key)
        if name in first:
            yield _line(key), f"{name!r} stands twice; first on line {first[name]}"
        first.setdefault(name, _line(key))
        yield from _repeated_keys(value, above, seen)


def _mapping(node: MappingNode, at: Key, lines: dict[Key, int], loader: yaml.SafeLoader) -> dict[str, Any]:
    loader.flatten_mapping(node)
    values: dict[str, Any] = {}
    for key, value in node.value:
        name = _name(key)
        lines[(*at, name)] = _line(key)
        values[name] = _value(value, (*at, name), lines, loader)
    return values


def _name(key: Node) -> str:
    """In normal form C: editors write the same name in different forms."""
    return unicodedata.normalize("NFC", str(key.value))


def _value(node: Node, at: Key, lines: dict[Key, int], loader: yaml.SafeLoader) -> Any:
    if isinstance(node, MappingNode):
        return _mapping(node, at, lines, loader)
    if isinstance(node, SequenceNode):
        items = []
        for number, item in enumerate(node.value):
            lines[(*at, number)] = _line(item)
            items.append(_value(item, (*at, number), lines, loader))
        return items
    if node.tag in _AS_TEXT or (node.tag in _AS_VALUE and ":" in node.value):
        return node.value  # YAML 1.1 reads 10:30 as 630; nobody means that
    if node.tag not in _AS_VALUE:
        raise DocumentError((_line(node), "an unquoted value begins with '!'; put it in quotes"))
    try:
        return loader.construct_object(node)
    except (ValueError, LookupError):
        raise DocumentError((_line(node), "a tag does not fit its value")) from None
