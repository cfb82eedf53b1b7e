"""hector memory …: the command tree. What the commands do is in memory.py, which is loaded when one is used."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.cli.options import (
    AgentArgument,
    ConfigOption,
    JSONOption,
    ServerOption,
    TokenOption,
    UserOption,
    target_of,
)

if TYPE_CHECKING:
    from app.cli.failures import ExitCode

memory = typer.Typer(
    no_args_is_help=True, help="What agents remember: look at it, change it, take it along, forget it."
)

MemoryArgument = Annotated[str, typer.Argument(help="Id of the memory; `hector memory list` shows them.")]
SessionOption = Annotated[str | None, typer.Option(help="Of this session only.")]
TextArgument = Annotated[str | None, typer.Argument(help="The text; left out or -: standard input.")]
ScopeOption = Annotated[
    Literal["session", "conversational", "all"] | None,
    typer.Option(help="How widely; default, and at most: the agent's storage_scope."),
]


def _run(command: Coroutine[Any, Any, ExitCode], *, as_json: bool) -> None:
    from app.cli.run import run

    act: Callable[[Any], Coroutine[Any, Any, ExitCode]] = lambda _: command  # noqa: E731
    raise typer.Exit(run(act, as_json=as_json))


@memory.command("list")
def list_(
    agent: AgentArgument,
    user: UserOption = None,
    session: SessionOption = None,
    kind: Annotated[
        Literal["message", "summary", "note"] | None, typer.Option(help="Only memories of this kind.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Memories shown at most, the newest first.")] = 50,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """List what an agent remembers."""
    from app.cli.memory import list_ as command

    target = target_of(server, token, config)
    _run(command(target, agent, user, session=session, kind=kind, limit=limit, as_json=as_json), as_json=as_json)


@memory.command()
def search(
    agent: AgentArgument,
    query: Annotated[str, typer.Argument(help="What to look for: words, or a question.")],
    user: UserOption = None,
    session: Annotated[str | None, typer.Option(help="Find what this session would recall.")] = None,
    scope: ScopeOption = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="Hits shown at most.")] = 10,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Find memories, with their scores and what these are made of."""
    from app.cli.memory import search as command

    target = target_of(server, token, config)
    _run(
        command(target, agent, query, user, session=session, scope=scope, limit=limit, as_json=as_json), as_json=as_json
    )


@memory.command()
def show(
    agent: AgentArgument,
    memory_id: MemoryArgument,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Tell all about a memory: where it came from, its earlier texts."""
    from app.cli.memory import show as command

    _run(command(target_of(server, token, config), agent, memory_id, as_json=as_json), as_json=as_json)


@memory.command()
def add(
    agent: AgentArgument,
    text: TextArgument = None,
    user: UserOption = None,
    session: Annotated[str | None, typer.Option(help="The session it belongs to; default: none.")] = None,
    scope: ScopeOption = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it when others are removed for room or age.")] = False,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Have an agent remember something."""
    from app.cli.memory import add as command

    target = target_of(server, token, config)
    _run(command(target, agent, text, user, session=session, scope=scope, pin=pin, as_json=as_json), as_json=as_json)


@memory.command()
def edit(
    agent: AgentArgument,
    memory_id: MemoryArgument,
    text: TextArgument = None,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Give a memory another text; the one before is kept beside it."""
    from app.cli.memory import edit as command

    _run(command(target_of(server, token, config), agent, memory_id, text, as_json=as_json), as_json=as_json)


@memory.command()
def pin(
    agent: AgentArgument,
    memory_id: MemoryArgument,
    off: Annotated[bool, typer.Option("--off", help="Not any more.")] = False,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Keep a memory when others are removed for room or age."""
    from app.cli.memory import pin as command

    _run(command(target_of(server, token, config), agent, memory_id, off=off, as_json=as_json), as_json=as_json)


@memory.command()
def delete(
    agent: AgentArgument,
    memory_id: MemoryArgument,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a memory; the message it came from stays."""
    from app.cli.memory import delete as command

    _run(command(target_of(server, token, config), agent, memory_id, as_json=as_json), as_json=as_json)


@memory.command()
def export(
    agent: AgentArgument,
    user: UserOption = None,
    session: SessionOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; default: standard output.")] = None,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Write memories as JSON Lines, oldest first."""
    from app.cli.memory import export as command

    _run(command(target_of(server, token, config), agent, user, session=session, output=output), as_json=False)


@memory.command("import")
def import_(
    agent: AgentArgument,
    source: Annotated[Path | None, typer.Argument(help="An export; left out or -: standard input.")] = None,
    user: UserOption = None,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Take in the memories of an export that are not there yet."""
    from app.cli.memory import import_ as command

    _run(command(target_of(server, token, config), agent, source, user, as_json=as_json), as_json=as_json)


@memory.command()
def reindex(
    agent: AgentArgument,
    again: Annotated[
        bool, typer.Option("--again", help="Embed anew what the present embedder has embedded, too.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is done.")] = True,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Embed memories anew, after another embedder was configured."""
    from app.cli.memory import reindex as command

    _run(command(target_of(server, token, config), agent, again=again, wait=wait, as_json=as_json), as_json=as_json)


@memory.command()
def forget(
    agent: AgentArgument,
    user: Annotated[str | None, typer.Option(help="A user, with every session and memory.")] = None,
    session: Annotated[str | None, typer.Option(help="A session, and what is remembered of it anywhere.")] = None,
    memory_id: Annotated[str | None, typer.Option("--memory", help="A memory, and the message it came from.")] = None,
    phrase: Annotated[str | None, typer.Option(help="Whatever contains these words.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Forget for good, wherever it is: messages, events, summaries, memories. Several options narrow each other."""
    from app.cli.memory import Forget
    from app.cli.memory import forget as command

    wish = Forget(agent, user, session, memory_id, phrase)
    _run(command(target_of(server, token, config), wish, yes=yes, as_json=as_json), as_json=as_json)
