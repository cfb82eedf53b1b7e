"""Arguments and options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import completion

AgentArgument = Annotated[
    str, typer.Argument(help="Name of the agent; `hector list` shows them.", autocompletion=completion.agents)
]
OptionalAgentArgument = Annotated[
    str | None,
    typer.Argument(
        help="Name of the agent; may be left out where the server has one agent only.",
        autocompletion=completion.agents,
    ),
]
ContinueOption = Annotated[
    bool, typer.Option("--continue", "-c", help="Go on in the session with this agent that was active last.")
]
ConfigOption = Annotated[Path | None, typer.Option(help="Configuration file; default: ./config.yaml, if there is one.")]
JSONOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ServerOption = Annotated[
    str | None,
    typer.Option(
        envvar="HECTOR_SERVER",
        help="Address of the server, such as http://localhost:8080. Default: the live server on the configured"
        " data; if there is none, this process does the work.",
    ),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        envvar="HECTOR_TOKEN",
        help="Key of the caller. Default without --server: the key of the configuration, if it has exactly one.",
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option(help="Act for this end user. Default: all users of the key; for new memories, the key itself."),
]
