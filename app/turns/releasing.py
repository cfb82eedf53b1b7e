"""What a yes that is remembered allows: the rule it makes, and which acts that wait it lets go."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.act import Act, ActState
from app.tools.arguments import BadArguments, parse
from app.tools.rules import exact_entry
from app.turns import flow
from app.turns.acting import AgentTools


def rule_for(act: Act) -> str:
    """The entry of `permissions` that allows the same thing again: the tool, of commands the program."""
    try:
        arguments = parse(act.effective, {})
    except BadArguments:
        return act.name
    command = arguments.get("command")
    if act.name == "http_request":  # one yes is for one request
        return exact_entry(act.name, arguments)
    words = command.split() if isinstance(command, str) else []
    return f"{act.name}(command={words[0]} *)" if words and words[0].isalnum() else act.name


def released(tools: AgentTools, waiting: Sequence[Act], rule: str, *, by: str, now_ms: int) -> list[tuple[Act, Act]]:
    """The acts that `rule` allows, as they were and as they are then. What the flow of data asks about waits on."""
    return [
        (act, act.to(ActState.APPROVED, now_ms, by=by, rule=rule))
        for act in waiting
        if act.rule != flow.RULE and tools.decide(act.name, _arguments(tools, act), [rule]).verdict == "allow"
    ]


def _arguments(tools: AgentTools, act: Act) -> dict[str, object] | None:
    tool = tools.find(act.name)
    try:
        return parse(act.effective, tool.spec.parameters) if tool is not None else None
    except BadArguments:
        return None
