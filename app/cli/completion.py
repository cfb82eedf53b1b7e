"""Completion of commands, options and names of agents by the shell, which asks the program itself at every Tab."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import typer

VARIABLE = "_HECTOR_COMPLETE"
"""By this variable the shell's function says that it wants completions."""


def is_asked() -> bool:
    return VARIABLE in os.environ


def print_script(shell: str) -> None:
    """Print the function of a shell, and exit: it names the program and the variable, whatever the commands are."""
    tree = typer.Typer(add_completion=True)
    tree.command()(_nothing)
    os.environ[VARIABLE] = f"source_{shell}"
    tree(prog_name="hector")


def agents(incomplete: str) -> list[str]:
    """Names of the agents of the configuration that begin so; none if it cannot be read."""
    from app.config.find import find_config
    from app.config.load import ConfigError, load_config

    with suppress(ConfigError, OSError):
        config = load_config(find_config(os.environ, Path.cwd()), environ=os.environ).config
        return [name for name in config.agents if name.startswith(incomplete)]
    return []


def _nothing() -> None:
    """A tree has to have a command."""
