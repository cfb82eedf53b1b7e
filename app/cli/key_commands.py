"""hector keys …: the command tree. What the commands do is in keys.py, which is loaded when one is used."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.asking import Answer, Ask, asks

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke keys of a running server.")


@asks(keys)
def create(
    ask: Ask,
    name: Annotated[str, typer.Argument(help="The principal, which owns what the key makes.")],
    scopes: Annotated[
        str | None,
        typer.Option(help="Of chat, read, approve, memory and admin, with commas. Default: all but admin."),
    ] = None,
    agents: Annotated[str | None, typer.Option(help="The agents it may use, with commas. Default: all.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="After how long it is refused, such as 90d. Default: never.")
    ] = None,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="A further key of a name that has one; revoke the old one later.")
    ] = False,
) -> Answer:
    """Make a key and print its secret, which is shown this once."""
    from app.cli.keys import create as command

    options = {"scopes": scopes, "agents": agents, "expires": expires}
    return command(ask.target, name, **options, rotate=rotate, as_json=ask.as_json)


@asks(keys, "list")
def list_(
    ask: Ask,
    everything: Annotated[bool, typer.Option("--all", help="Also keys that were revoked or have expired.")] = False,
) -> Answer:
    """List the keys that were made; those of the configuration are not among them."""
    from app.cli.keys import list_ as command

    return command(ask.target, everything=everything, as_json=ask.as_json)


@asks(keys)
def revoke(ask: Ask, key: Annotated[str, typer.Argument(help="Its id, or the name, if that has one key.")]) -> Answer:
    """Refuse a key from now on, on every server of the database."""
    from app.cli.keys import revoke as command

    return command(ask.target, key, as_json=ask.as_json)
