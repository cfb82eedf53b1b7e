"""Comments and docstrings name no file that there is not."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

ROOMS = ("app", "benchmarks", "clients")
NAME = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|md)\b")


def comments_and_docstrings(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def missing_files(file: Path) -> list[str]:
    """Names of Python files and pages that exist neither beside `file` nor in the rooms or the project above it."""
    places = [place for place in file.parents if place == ROOT or ROOT in place.parents] + [ROOT / "app"]
    words = comments_and_docstrings(file.read_text(encoding="utf-8"))
    names = [name for text in words for name in NAME.findall(text)]
    return [name for name in names if not any((place / name).exists() for place in places)]


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_that_a_comment_names_exists(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files

    found = {str(file.relative_to(ROOT)): missing for file in files if (missing := missing_files(file))}

    assert found == {}


def test_a_file_that_is_gone_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "room.py"
    file.write_text('"""Counterpart of gone.py."""\n\n# why: docs/gone.md\nx = "not/a/comment.py"\n', encoding="utf-8")

    assert sorted(missing_files(file)) == ["docs/gone.md", "gone.py"]
