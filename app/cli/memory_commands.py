"""hector memory …: the command tree. What the commands do is in memory.py, which is loaded when one is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.asking import Answer, Ask, asks
from app.cli.options import AgentArgument, UserOption

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


@asks(memory, "list")
def list_(
    ask: Ask,
    agent: AgentArgument,
    user: UserOption = None,
    session: SessionOption = None,
    kind: Annotated[
        Literal["message", "summary", "note"] | None, typer.Option(help="Only memories of this kind.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Memories shown at most, the newest first.")] = 50,
) -> Answer:
    """List what an agent remembers."""
    from app.cli.memory import list_ as command

    return command(ask.target, agent, user, session=session, kind=kind, limit=limit, as_json=ask.as_json)


@asks(memory)
def search(
    ask: Ask,
    agent: AgentArgument,
    query: Annotated[str, typer.Argument(help="What to look for: words, or a question.")],
    user: UserOption = None,
    session: Annotated[str | None, typer.Option(help="Find what this session would recall.")] = None,
    scope: ScopeOption = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="Hits shown at most.")] = 10,
) -> Answer:
    """Find memories, with their scores and what these are made of."""
    from app.cli.memory import search as command

    return command(ask.target, agent, query, user, session=session, scope=scope, limit=limit, as_json=ask.as_json)


@asks(memory)
def show(
    ask: Ask,
    agent: AgentArgument,
    memory_id: MemoryArgument,
) -> Answer:
    """Tell all about a memory: where it came from, its earlier texts."""
    from app.cli.memory import show as command

    return command(ask.target, agent, memory_id, as_json=ask.as_json)


@asks(memory)
def add(
    ask: Ask,
    agent: AgentArgument,
    text: TextArgument = None,
    user: UserOption = None,
    session: Annotated[str | None, typer.Option(help="The session it belongs to; default: none.")] = None,
    scope: ScopeOption = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it when others are removed for room or age.")] = False,
) -> Answer:
    """Have an agent remember something."""
    from app.cli.memory import add as command

    return command(ask.target, agent, text, user, session=session, scope=scope, pin=pin, as_json=ask.as_json)


@asks(memory)
def edit(
    ask: Ask,
    agent: AgentArgument,
    memory_id: MemoryArgument,
    text: TextArgument = None,
) -> Answer:
    """Give a memory another text; the one before is kept beside it."""
    from app.cli.memory import edit as command

    return command(ask.target, agent, memory_id, text, as_json=ask.as_json)


@asks(memory)
def pin(
    ask: Ask,
    agent: AgentArgument,
    memory_id: MemoryArgument,
    off: Annotated[bool, typer.Option("--off", help="Not any more.")] = False,
) -> Answer:
    """Keep a memory when others are removed for room or age."""
    from app.cli.memory import pin as command

    return command(ask.target, agent, memory_id, off=off, as_json=ask.as_json)


@asks(memory)
def delete(
    ask: Ask,
    agent: AgentArgument,
    memory_id: MemoryArgument,
) -> Answer:
    """Remove a memory; the message it came from stays."""
    from app.cli.memory import delete as command

    return command(ask.target, agent, memory_id, as_json=ask.as_json)


@asks(memory, prints_json=False)
def export(
    ask: Ask,
    agent: AgentArgument,
    user: UserOption = None,
    session: SessionOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; default: standard output.")] = None,
) -> Answer:
    """Write memories as JSON Lines, oldest first."""
    from app.cli.memory import export as command

    return command(ask.target, agent, user, session=session, output=output)


@asks(memory, "import")
def import_(
    ask: Ask,
    agent: AgentArgument,
    source: Annotated[Path | None, typer.Argument(help="An export; left out or -: standard input.")] = None,
    user: UserOption = None,
) -> Answer:
    """Take in the memories of an export that are not there yet."""
    from app.cli.memory import import_ as command

    return command(ask.target, agent, source, user, as_json=ask.as_json)


@asks(memory)
def reindex(
    ask: Ask,
    agent: AgentArgument,
    again: Annotated[
        bool, typer.Option("--again", help="Embed anew what the present embedder has embedded, too.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is done.")] = True,
) -> Answer:
    """Embed memories anew, after another embedder was configured."""
    from app.cli.memory import reindex as command

    return command(ask.target, agent, again=again, wait=wait, as_json=ask.as_json)


@asks(memory)
def forget(
    ask: Ask,
    agent: AgentArgument,
    user: Annotated[str | None, typer.Option(help="A user, with every session and memory.")] = None,
    session: Annotated[str | None, typer.Option(help="A session, and what is remembered of it anywhere.")] = None,
    memory_id: Annotated[str | None, typer.Option("--memory", help="A memory, and the message it came from.")] = None,
    phrase: Annotated[str | None, typer.Option(help="Whatever contains these words.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Answer:
    """Forget for good, wherever it is: messages, events, summaries, memories. Several options narrow each other."""
    from app.cli.memory import Forget
    from app.cli.memory import forget as command

    wish = Forget(agent, user, session, memory_id, phrase)
    return command(ask.target, wish, yes=yes, as_json=ask.as_json)
