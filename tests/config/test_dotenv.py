"""Variables beside the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.dotenv import read_dotenv
from app.config.load import load_config


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=ada", "ada"),
        ("export NAME = ada ", "ada"),
        ("NAME='a # b'  # a comment", "a # b"),
        ('NAME="a\\n\\"b\\" $X"', 'a\n"b" $X'),
        ("NAME=a#b # a comment", "a#b"),
        ("NAME=", ""),
        ("NAME=a=b", "a=b"),
        ("# NAME=ada", None),
        ("NAME", None),
        ("1NAME=ada", None),
    ],
)
def test_a_line_gives_a_variable(tmp_path: Path, line: str, value: str | None) -> None:
    (tmp_path / ".env").write_text(f"{line}\n")

    assert read_dotenv(tmp_path).get("NAME") == value


def test_the_local_file_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nB=1\n")
    (tmp_path / ".env.local").write_text("B=2\n")

    assert read_dotenv(tmp_path) == {"A": "1", "B": "2"}


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    (tmp_path / ".env.local").write_bytes(b"A=\xff\n")

    assert read_dotenv(tmp_path) == {}


def test_it_fills_references_sets_settings_and_never_beats_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("logging: {level: '${LEVEL}'}\nagents: {a: {description: '${WHO}'}}\n")
    (tmp_path / ".env").write_text("LEVEL=debug\nWHO=file\nHECTOR_SERVER__PORT=9\n")

    config = load_config(path, environ={"WHO": "environment"}).config

    assert (config.logging.level, config.server.port) == ("debug", 9)
    assert config.agents["a"].description == "environment"
