"""hector memory …: the command tree. What the commands do is in memory.py, which is loaded when one is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.asking import Answer, Ask, asks
from app.cli.options import AgentArgument, UserOption

memory = typer.Typer(no_args_is_help=True, help="What agents remember: list, search, edit, export and erase it.")

MemoryArgument = Annotated[str, typer.Argument(help="Id of the memory; `hector memory list` shows them.")]
SessionOption = Annotated[str | None, typer.Option(help="Only memories of this session.")]
TextArgument = Annotated[str | None, typer.Argument(help="The text; if omitted or -, standard input.")]
ScopeOption = Annotated[
    Literal["session", "conversational", "all"] | None,
    typer.Option(help="Who sees it; the default, and the widest allowed, is the agent's storage_scope."),
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
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of memories, the newest first.")] = 50,
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
    limit: Annotated[int, typer.Option(min=1, max=50, help="Maximum number of hits.")] = 10,
) -> Answer:
    """Search memories; prints scores and the cues they are made of."""
    from app.cli.memory import search as command

    return command(ask.target, agent, query, user, session=session, scope=scope, limit=limit, as_json=ask.as_json)


@asks(memory)
def show(
    ask: Ask,
    agent: AgentArgument,
    memory_id: MemoryArgument,
) -> Answer:
    """Show a memory with its source and its earlier texts."""
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
    pin: Annotated[bool, typer.Option("--pin", help="Exempt it from removal by max_items and retention.")] = False,
) -> Answer:
    """Add a note to what an agent remembers."""
    from app.cli.memory import add as command

    return command(ask.target, agent, text, user, session=session, scope=scope, pin=pin, as_json=ask.as_json)


@asks(memory)
def edit(
    ask: Ask,
    agent: AgentArgument,
    memory_id: MemoryArgument,
    text: TextArgument = None,
) -> Answer:
    """Change the text of a memory; the earlier text is kept as a version."""
    from app.cli.memory import edit as command

    return command(ask.target, agent, memory_id, text, as_json=ask.as_json)


@asks(memory)
def pin(
    ask: Ask,
    agent: AgentArgument,
    memory_id: MemoryArgument,
    off: Annotated[bool, typer.Option("--off", help="Unpin it.")] = False,
) -> Answer:
    """Exempt a memory from removal by max_items and retention."""
    from app.cli.memory import pin as command

    return command(ask.target, agent, memory_id, off=off, as_json=ask.as_json)


@asks(memory)
def delete(
    ask: Ask,
    agent: AgentArgument,
    memory_id: MemoryArgument,
) -> Answer:
    """Delete a memory; the message it came from is kept."""
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
    source: Annotated[Path | None, typer.Argument(help="An export; if omitted or -, standard input.")] = None,
    user: UserOption = None,
) -> Answer:
    """Add the memories of an export that are not present yet."""
    from app.cli.memory import import_ as command

    return command(ask.target, agent, source, user, as_json=ask.as_json)


@asks(memory)
def reindex(
    ask: Ask,
    agent: AgentArgument,
    again: Annotated[
        bool, typer.Option("--again", help="Embed every memory again, also those embedded by the current embedder.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is done.")] = True,
) -> Answer:
    """Embed memories again, after another embedder was configured."""
    from app.cli.memory import reindex as command

    return command(ask.target, agent, again=again, wait=wait, as_json=ask.as_json)


@asks(memory)
def forget(
    ask: Ask,
    agent: AgentArgument,
    user: Annotated[str | None, typer.Option(help="Erase a user, with all sessions and memories.")] = None,
    session: Annotated[str | None, typer.Option(help="Erase a session, and every memory of it.")] = None,
    memory_id: Annotated[
        str | None, typer.Option("--memory", help="Erase a memory, and the message it came from.")
    ] = None,
    phrase: Annotated[str | None, typer.Option(help="Erase text that contains these words.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> Answer:
    """Erase permanently from messages, events, summaries and memories. Options are combined with AND."""
    from app.cli.memory import Forget
    from app.cli.memory import forget as command

    request = Forget(agent, user, session, memory_id, phrase)
    return command(ask.target, request, yes=yes, as_json=ask.as_json)
