"""Proposals: what the model asks for becomes acts, with what the rules, and the flow of data, say to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from app.domain.act import Act, ActState, StateChange, ToolClass
from app.domain.event import ApprovalRequested, ToolCalled
from app.llm.base import ToolCall
from app.tools.arguments import BadArguments, describe, parse
from app.tools.base import Classifying, Tool
from app.tools.rules import stricter
from app.turns import flow
from app.turns.acting import Acting, AgentTools
from app.turns.desk import Desk
from app.turns.going_on import GO_ON, decision_for
from app.turns.open_turn import OpenTurn


class Proposals:
    """Makes the acts of one running turn. Stores nothing.

    `find`: the tool of a name, those of the turn itself included. `remembered`: rules that people have made since.
    """

    def __init__(
        self,
        acting: Acting,
        desk: Desk,
        turn: OpenTurn,
        tools: AgentTools,
        find: Callable[[str], Tool | None],
        remembered: Sequence[str],
    ) -> None:
        self._acting = acting
        self._desk = desk
        self._turn = turn
        self._tools = tools
        self._find = find
        self._remembered = list(remembered)

    async def make(self, calls: Sequence[ToolCall], now: int) -> list[tuple[Act, object]]:
        """The act of each call with the first states it has, and its arguments as far as they can be read."""
        context = await self._read_context(calls)
        return [self._proposed(call, place, context, now) for place, call in enumerate(calls)]

    def _proposed(self, call: ToolCall, place: int, context: flow.Context, now: int) -> tuple[Act, object]:
        tool = self._find(call.name)
        turn, acting = self._turn, self._acting
        act = Act(
            call_id=acting.new_id("call"),
            session_id=self._desk.session_id,
            turn_id=turn.turn_id,
            step=turn.step,
            place=place,
            agent=self._desk.agent.name,
            name=call.name[:200],
            tool_class=tool.spec.tool_class if tool is not None else ToolClass.ONCE,
            arguments=call.arguments.replace("\0", "\ufffd"),
            state=ActState.PROPOSED,
            changes=(StateChange(ActState.PROPOSED, now),),
        )
        if tool is None:
            refused = _refused(act, f"There is no tool {call.name!r}. Use one of those you were given.", now)
            return refused, _readable(act.arguments)
        try:
            arguments = parse(act.arguments, tool.spec.parameters)
        except BadArguments as error:
            return _refused(act, str(error), now), act.arguments
        if isinstance(tool, Classifying):
            act = replace(act, tool_class=tool.class_of(arguments))
        return self._decided(act, arguments, context, now), arguments

    def _decided(self, act: Act, arguments: dict[str, object], context: flow.Context, now: int) -> Act:
        """The act as the rules have it."""
        if act.name == GO_ON:
            decision = decision_for(arguments)
        else:
            decision = self._tools.decide(act.name, arguments, self._remembered)
            tool = self._tools.find(act.name)
            against = flow.decide(self._acting.flow, tool.spec, context) if tool is not None else None
            decision = stricter(against, decision) if against is not None else decision
        if decision.verdict == "deny":
            sentence = f"This call is not allowed: {decision.why}"
            return replace(_refused(act, sentence, now), why=decision.why, rule=decision.rule)
        if decision.verdict == "ask":
            expires = now + int(self._acting.limits.approval_seconds * 1000)
            why, rule = decision.why, decision.rule
            return act.to(ActState.WAITING, now, waiting_for="approval", why=why, rule=rule, expires_ms=expires)
        return act.to(ActState.APPROVED, now, rule=decision.rule)

    async def _read_context(self, calls: Sequence[ToolCall]) -> flow.Context:
        """What the model knows and who wrote it, if one of the calls could send it anywhere."""
        found = [self._tools.find(call.name) for call in calls]
        specs = [tool.spec for tool in found if tool is not None]
        if self._turn.trust != "web" or not any(flow.is_watched(self._acting.flow, spec) for spec in specs):
            return flow.NOTHING
        return await flow.read_context(self._desk.session_log.database, self._desk.session_id, self._turn.memory)

    def told(self, act: Act, arguments: object) -> ToolCalled:
        """What readers are told of an act that was proposed."""
        chunk = ""
        if self._desk.agent.config.reasoning.show_tool_execution:
            tool = self._find(act.name)
            known = arguments if isinstance(arguments, dict) else {}
            chunk = f"\n[Tool: {describe(act.name, known, tool.spec.parameters if tool is not None else {})}]\n"
        return ToolCalled(act.turn_id, act.call_id, act.name, arguments, act.tool_class.value, act.step, chunk)


def _refused(act: Act, sentence: str, now: int) -> Act:
    return act.to(ActState.REFUSED, now, outcome=sentence, result={"error": sentence}, why=sentence)


def _readable(arguments: str) -> object:
    try:
        return parse(arguments, {})
    except BadArguments:
        return arguments


def request(act: Act, arguments: object) -> ApprovalRequested:
    """What readers are told of an act that waits for a yes."""
    why = act.why or "A rule asks for it."
    return ApprovalRequested(act.turn_id, act.call_id, act.name, arguments, why, act.rule, act.expires_ms)
