"""The commands about calls of tools that wait for a person."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from app.cli.asking import Answer, Ask, asks
from app.cli.options import AgentArgument

SessionArgument = Annotated[str, typer.Argument(help="The session that the call is in.")]
CallArgument = Annotated[str, typer.Argument(help="Id of the call; `hector approvals` shows it.")]


def add_act_commands(tree: typer.Typer) -> None:
    @asks(tree)
    def approvals(
        ask: Ask, agent: Annotated[str | None, typer.Argument(help="Only the sessions of this agent.")] = None
    ) -> Answer:
        """List the calls of tools that wait for a decision."""
        from app.cli.approvals import list_

        return list_(ask.target, agent, as_json=ask.as_json)

    @asks(tree)
    def approve(
        ask: Ask,
        agent: AgentArgument,
        session: SessionArgument,
        call: CallArgument,
        edit: Annotated[str | None, typer.Option(help="Other arguments, as a JSON object.")] = None,
        remember: Annotated[
            Literal["session", "agent"] | None, typer.Option(help="Allow the same from now on, there.")
        ] = None,
    ) -> Answer:
        """Let a call of a tool run."""
        from app.cli.approvals import approve as approve_

        return approve_(ask.target, agent, session, call, edit=edit, remember=remember, as_json=ask.as_json)

    @asks(tree)
    def refuse(
        ask: Ask,
        agent: AgentArgument,
        session: SessionArgument,
        call: CallArgument,
        reason: Annotated[str | None, typer.Option(help="The model is told.")] = None,
    ) -> Answer:
        """Refuse a call of a tool."""
        from app.cli.approvals import refuse as refuse_

        return refuse_(ask.target, agent, session, call, reason=reason, as_json=ask.as_json)
