"""Decorator for commands that ask a server: adds the options that all of them have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from app.cli.failures import ExitCode
from app.cli.options import ConfigOption, JSONOption, ServerOption, TokenOption

if TYPE_CHECKING:
    from app.cli.connection import Target
    from app.cli.run import Signals

_JSON = {"as_json": (JSONOption, False)}
_SHARED = {"server": (ServerOption, None), "token": (TokenOption, None), "config": (ConfigOption, None)}

Answer = Coroutine[Any, Any, ExitCode]
Command = Callable[..., Answer]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a command gets besides its own options: which server to ask, how to print, and what Ctrl-C does."""

    target: Target
    as_json: bool
    signals: Signals


def asks(tree: typer.Typer, name: str | None = None, *, prints_json: bool = True) -> Callable[[Command], Command]:
    """Register a function as a command of `tree`. It gets an `Ask` and its own options.

    `--server`, `--token` and `--config` are added, and `--json` unless it prints none.
    """
    shared = (_JSON if prints_json else {}) | _SHARED

    def register(command: Command) -> Command:
        def run_command(**options: Any) -> None:
            # Imported when a command runs: `hector --help` loads no module of a command.
            from app.cli.connection import Target
            from app.cli.run import run

            server, token, config = [options.pop(option) for option in _SHARED]
            as_json = options.pop("as_json", False)
            target = Target(server or None, token or None, config)
            raise typer.Exit(run(lambda s: command(Ask(target, as_json, s), **options), as_json=as_json))

        hints = get_type_hints(command, include_extras=True)
        hints.pop("return")
        _, *own = inspect.signature(command).parameters.values()
        parameters = [one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        parameters += [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for option, (kind, default) in shared.items()
        ]
        # Typer reads a command's options off its signature.
        run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run_command.__annotations__ = {one.name: one.annotation for one in parameters}
        run_command.__doc__ = command.__doc__
        tree.command(name or command.__name__)(run_command)
        return command

    return register
