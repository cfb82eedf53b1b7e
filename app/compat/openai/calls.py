"""Tools of the caller: what a request brings of them, the calls that wait for it, and the results that come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.compat.openai.endings import usage_of
from app.compat.openai.errors import invalid
from app.compat.openai.texts import text_of
from app.config.compat import OpenAIConfig
from app.conversation.conversation import Following, Sending
from app.conversation.cursor import Cursor
from app.domain.act import Act, ActState
from app.domain.errors import NotFound, SessionOver
from app.domain.ids import GENERATED_ID
from app.domain.principal import Principal
from app.domain.turn import Turn, Usage
from app.events.log import SessionLog
from app.runtime import Runtime
from app.tools.client_tool import KEPT, ClientTool, ClientToolDefinition
from app.tools.schemas import find_problem
from app.turns.open_turn import OpenTurn

MOST_OPEN = 200


def read_tools(given: Sequence[Any] | None, choice: Any, config: OpenAIConfig) -> tuple[ClientTool, ...]:
    """The functions of a request, as chat completions or responses write them. Other kinds of tools are left out: the
    agent has its own. Raises InvalidRequest."""
    if not given or choice == "none":
        return ()
    if len(given) > config.max_tools:
        raise invalid("tools", f"at most {config.max_tools} (compat.openai.max_tools)")
    functions = [
        (place, one) for place, one in enumerate(given) if isinstance(one, dict) and one.get("type") == "function"
    ]
    expires = config.result_timeout.total_seconds()
    return tuple([_tool(one.get("function", one), f"tools[{place}]", expires) for place, one in functions])


def _tool(function: Any, where: str, expires_seconds: float) -> ClientTool:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        raise invalid(f"{where}.function.name", "must be a name of at most 64 characters")
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict) or find_problem(parameters) is not None:
        raise invalid(f"{where}.function.parameters", "must be a JSON schema")
    description = str(function.get("description") or "")
    return ClientTool(ClientToolDefinition(name, description, parameters, expires_seconds))


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool of the caller gave."""

    call_id: str
    text: str


def trailing_results(messages: Sequence[Any]) -> list[Result]:
    """The results at the end of a chat: what this request is about, if there are any."""
    found: list[Result] = []
    for place in range(len(messages) - 1, -1, -1):
        one = messages[place]
        if not isinstance(one, dict) or one.get("role") != "tool":
            break
        found.append(Result(str(one.get("tool_call_id", "")), text_of(one.get("content"), f"messages[{place}]")))
    return found[::-1]


def trailing_outputs(items: str | Sequence[Any]) -> list[Result]:
    """The same for the items of a response."""
    found: list[Result] = []
    for place in range(len(items) - 1, -1, -1) if not isinstance(items, str) else ():
        one = items[place]
        if not isinstance(one, dict) or one.get("type") != "function_call_output":
            break
        found.append(Result(str(one.get("call_id", "")), text_of(one.get("output"), f"input[{place}]")))
    return found[::-1]


def shown_id(act: Act) -> str:
    """The id of a call as the caller has it: with its session, where a request has no other word for that."""
    return f"{act.call_id}.{act.session_id}"


async def waiting_calls(runtime: Runtime, session_log: SessionLog, turn_id: str) -> list[Act]:
    """The calls of the turn that its caller is to carry out, oldest first."""
    found = await runtime.house.decisions.page(
        session_log, turn_id=turn_id, states=[ActState.WAITING], waiting_for="result", limit=MOST_OPEN
    )
    return [act for act in found if act.kept is not None and act.kept.get(KEPT)]


@dataclass(frozen=True, slots=True)
class CallsAsked:
    """Calls as the caller is shown them, and the tokens since it was told before."""

    calls: list[dict[str, Any]]
    usage: dict[str, int]
    items: list[dict[str, Any]]
    """The same calls as items of a response."""


async def calls_asked(
    runtime: Runtime, session_log: SessionLog, turn: OpenTurn | Turn, used: Usage | None
) -> CallsAsked | None:
    """What the turn wants of its caller now; `None`: nothing, it waits for somebody else."""
    acts = await waiting_calls(runtime, session_log, turn.turn_id)
    if not acts:
        return None
    calls: list[dict[str, Any]] = [
        {"id": shown_id(act), "type": "function", "function": {"name": act.name, "arguments": act.effective}}
        for act in acts
    ]
    total = await runtime.history.used(session_log, turn)
    return CallsAsked(
        calls, usage_of(dict(total.to_json()) if total is not None else None, used), [_item(act) for act in acts]
    )


def _item(act: Act) -> dict[str, Any]:
    return {
        "id": f"fc_{act.call_id.partition('_')[2]}",
        "type": "function_call",
        "status": "completed",
        "call_id": shown_id(act),
        "name": act.name,
        "arguments": act.effective,
    }


@dataclass(frozen=True, slots=True)
class Continuation:
    """A turn that waits for its caller, and the results that came. `used`: by the steps that were told already."""

    runtime: Runtime
    following: Following
    results: tuple[Result, ...]
    used: Usage | None
    by: str
    since: int
    """The number of the last event that the caller was told."""

    async def give(self) -> None:
        """Hand over the results; the turn goes on with the last one. The reader has been entered before."""
        client_tools = tuple([tool.definition for tool in self.following.sending.client_tools])
        for result in self.results:
            await self.runtime.house.decisions.give_result(
                self.following.session_log,
                result.call_id,
                by=self.by,
                result=result.text,
                client_tools=client_tools,
            )


def session_of(results: Sequence[Result]) -> str:
    """The session whose turn waits for the results, as their ids say (see `shown_id`)."""
    return results[0].call_id.partition(".")[2]


async def find_continuation(
    runtime: Runtime, principal: Principal, agent: str | None, results: Sequence[Result], sending: Sending
) -> Continuation:
    """The turn that waits for the results. Raises InvalidRequest: none does."""
    unknown = invalid("messages", "no call waits for these results any more; send a message of the user")
    call_id, _, session_id = results[0].call_id.partition(".")
    if not GENERATED_ID.fullmatch(call_id):
        raise unknown
    try:
        session_log = await runtime.sessions.get_by_id(principal, session_id)
    except (NotFound, SessionOver):
        raise unknown from None
    turn = runtime.conversation.open_turn(session_log)
    if turn is None or agent not in (None, session_log.session.agent):
        raise unknown
    waiting = {act.call_id for act in await waiting_calls(runtime, session_log, turn.turn_id)}
    given = [Result(result.call_id.partition(".")[0], result.text) for result in results]
    given = [result for result in given if result.call_id in waiting]
    if not given:
        raise unknown
    named = runtime.roster.get(session_log.session.agent, principal)
    used = await runtime.history.used(session_log, turn)
    cursor = Cursor(session_log.visible_seq)
    following = Following(
        runtime.conversation,
        session_log,
        named,
        sending,
        turn.ask,
        runtime.conversation.read(session_log, named, after=cursor.after),
        is_one_shot=False,
        attached=turn,
        cursor=cursor,
    )
    return Continuation(runtime, following, tuple(given), used, principal.effective_user, cursor.after)
