"""hector approvals, approve and refuse: what waits for a decision, and the decision."""

from __future__ import annotations

from app.cli.connection import Target, connect
from app.cli.decide import NotAnswered, brief, read_arguments
from app.cli.failures import CommandFailed, ExitCode
from app.cli.run import print_json
from app.cli.tables import ago, print_rows

HEADINGS = ("call", "agent", "session", "since", "what", "why")


async def list_(target: Target, agent: str | None, *, as_json: bool) -> ExitCode:
    """Of one agent, or of all."""
    async with connect(target, only_looks=True) as client:
        names = [agent] if agent is not None else [str(one["agent"]) for one in await client.agents()]
        found = [act for name in names for act in await client.agent(name).approvals()]
    if as_json:
        print_json({"approvals": found})
        return ExitCode.OK
    rows = [
        [
            str(act["call_id"]),
            str(act["agent"]),
            str(act["session_id"]),
            ago(act["changes"][-1]["at"]),
            brief(act),
            act.get("why") or "",
        ]
        for act in found
    ]
    if rows:
        print_rows(HEADINGS, rows)
    else:
        print("nothing waits for an approval")
    return ExitCode.OK


async def approve(
    target: Target, agent: str, session_id: str, call_id: str, *, edit: str | None, remember: str | None, as_json: bool
) -> ExitCode:
    """`edit`: other arguments, as JSON."""
    try:
        arguments = read_arguments(edit) if edit is not None else None
    except NotAnswered as problem:
        raise CommandFailed(str(problem), code=ExitCode.USAGE, reason="invalid_request") from None
    async with connect(target) as client:
        calls = client.agent(agent).session(session_id).calls
        act = await calls.approve(call_id, arguments=arguments, remember=remember)
    print_json(act) if as_json else print(f"approved {call_id}")
    return ExitCode.OK


async def refuse(
    target: Target, agent: str, session_id: str, call_id: str, *, reason: str | None, as_json: bool
) -> ExitCode:
    async with connect(target) as client:
        act = await client.agent(agent).session(session_id).calls.refuse(call_id, reason=reason)
    print_json(act) if as_json else print(f"refused {call_id}")
    return ExitCode.OK
