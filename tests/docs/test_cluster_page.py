"""The page on several servers: its commands are ones that there are, and the files it names exist."""

from __future__ import annotations

import re
import shlex

import pytest
import typer.main

from app.cli.main import app
from app.config.variables import settings
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "cluster.md"
LINES = [
    line.removeprefix("$ ")
    for block in blocks(PAGE)
    if block.language in ("bash", "console")
    for line in block.text.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("line", [line for line in LINES if "hector serve" in line])
def test_a_server_can_be_started_so(line: str) -> None:
    words = shlex.split(line)
    place = words.index("hector")
    found, problems = settings(dict(word.split("=", 1) for word in words[:place]))
    assert problems == []
    assert len(found) == place
    command = typer.main.get_command(app)
    serve = command.get_command(command.make_context("hector", [], resilient_parsing=True), "serve")  # type: ignore[attr-defined]
    context = serve.make_context("serve", words[place + 2 :])
    assert str(context.params["config"]) == "cluster.yml"


def test_the_files_of_its_commands_exist() -> None:
    named = {name for line in LINES for name in re.findall(r"-f (\S+)", line)}
    assert len(named) == 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_a_rolling_restart_names_the_servers_of_the_compose_file() -> None:
    [line] = [line for line in LINES if line.startswith("for n in")]
    numbers = re.findall(r"\d", line.partition(";")[0])
    compose = (ROOT / "docker-compose.cluster.yml").read_text(encoding="utf-8")
    assert [f"hector-{number}" for number in numbers] == re.findall(r"^  (hector-\d):$", compose, re.MULTILINE)
