"""The pages tell what the models say: every key, its default and its meaning."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from app.config.document import read_document
from app.config.keys import SchemaKey, schema_keys
from app.config.load import load_config
from app.config.root import Config
from app.config.section import Section
from app.config.units import format_duration, format_size, parse_size

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "config.yaml"
KEYS = schema_keys()


def shown(key: SchemaKey) -> str:
    """A default as the page writes it."""
    if key.field.is_required():
        return "required"
    default = key.field.get_default(call_default_factory=True)
    match default:
        case None:
            text = "null"
        case bool():
            text = str(default).lower()
        case timedelta():
            text = format_duration(default)
        case int() if any(getattr(rule, "func", None) is parse_size for rule in key.field.metadata):
            text = format_size(default)
        case tuple():
            text = "[" + ", ".join(f'"{item}"' for item in default) + "]"
        case "":
            text = '""'
        case _:
            text = str(default)
    return f"`{text}`"


@cache
def meanings(section: type[Section]) -> dict[str, str]:
    """What stands below the fields of a class and those above it, by their names in the file."""
    found = {}
    for kind in reversed([kind for kind in section.__mro__ if issubclass(kind, Section)]):
        (declared,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(declared, ast.ClassDef)
        for field, below in pairwise(declared.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(str(text))):
                    found[kind.model_fields[name].alias or name] = inspect.cleandoc(text)
    return found


def switched_on() -> str:
    """The example with every line that is commented out put to use."""
    return re.sub(r"^( *)#(?=[\w-])", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def general(key: tuple[str | int, ...]) -> str:
    """A key of a file as the schema writes it, without the names that users choose."""
    text = ".".join("[]" if isinstance(part, int) else part for part in key).replace(".[]", "[]")
    return re.sub(
        r"^(llms|embedders|agents|document_stores|auth\.keys|tools\.mcp|tools(?=\.pay))\.[^.\[]+", r"\1.<name>", text
    )


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.dotted)
def test_the_page_has_every_key_with_its_default_and_meaning(key: SchemaKey) -> None:
    rows = re.findall(rf"^\| `{re.escape(key.dotted)}` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)

    assert rows == [(shown(key), meanings(key.section)[key.parts[-1]])]


def test_the_page_has_no_key_that_the_models_lack() -> None:
    named = set(re.findall(r"^\| `([a-z_]+[.\[][^`]+|webhooks)` \|", PAGE, re.MULTILINE))

    assert named == {key.dotted for key in KEYS}


def test_every_section_of_the_models_is_a_chapter_of_the_page() -> None:
    assert re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE) == list(Config.model_fields)


def test_the_example_has_every_key() -> None:
    named = {general(key) for key in read_document(switched_on()).lines}

    assert {key.dotted for key in KEYS} - named == set()


def test_the_example_explains_every_key_that_stands_alone_on_its_line() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    values = [line for line in lines if re.match(r"^ +[a-z_]+: \S", line)]

    assert [line for line in values if not re.search(r"\S +# \S", line)] == []


def test_the_example_loads_without_a_warning() -> None:
    assert load_config(EXAMPLE, environ={}).warnings == ()


def test_the_example_loads_with_every_line_switched_on(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(switched_on(), encoding="utf-8")

    assert set(load_config(path, environ={}).config.llms) > {"local", "gpt", "demo"}


def test_the_example_says_what_the_defaults_are_but_for_its_agent_and_the_door_it_opens() -> None:
    config = load_config(EXAMPLE, environ={}, cwd=ROOT).config
    default = load_config(None, environ={}, cwd=ROOT).config

    assert config.compat.vectorshift.enabled
    assert config.model_copy(update={"agents": default.agents, "compat": default.compat}) == default
