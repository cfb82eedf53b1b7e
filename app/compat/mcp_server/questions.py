"""What a waiting turn asks of a person, as forms of the protocol (`elicitation/create`), and what the answers do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp import types

from app.compat.mcp_server.handles import Handled
from app.domain.act import Act, ActState
from app.domain.errors import ApprovalExpired, Conflict
from app.domain.principal import Principal
from app.doors.scopes import check_operation
from app.runtime import Runtime

MOST = 50
"""Questions of one turn that a client is asked at once."""
LONGEST = 2_000
"""Characters of a call's arguments that a question shows."""
_APPROVE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean", "title": "Allow this call?"},
        "reason": {"type": "string", "title": "Why", "description": "The agent is told so."},
    },
    "required": ["approved"],
}
HAPPENED, NOT_HAPPENED, AGAIN = "It happened", "It did not happen", "Run it again"
_RESOLVE: dict[str, Any] = {
    "type": "object",
    "properties": {"outcome": {"type": "string", "enum": [HAPPENED, NOT_HAPPENED, AGAIN]}},
    "required": ["outcome"],
}
_PRIMITIVES = frozenset({"string", "number", "integer", "boolean"})


@dataclass(frozen=True, slots=True)
class Question:
    """`key` names it for as long as the turn lives: a call that asks again asks another question."""

    key: str
    act: Act
    message: str
    schema: dict[str, Any]

    def request(self) -> types.ElicitRequest:
        return types.ElicitRequest(
            params=types.ElicitRequestFormParams(message=self.message, requested_schema=self.schema)
        )


async def open_acts(runtime: Runtime, handled: Handled) -> list[Act]:
    """What the turn waits for: its own calls, and those of agents that it called."""
    found = await runtime.house.decisions.page(
        handled.session_log, states=[ActState.WAITING, ActState.UNKNOWN], with_children=True, limit=MOST
    )
    session_id = handled.session_log.session.session_id
    return [act for act in found if act.session_id != session_id or act.turn_id == handled.turn.turn_id]


def questions_of(acts: list[Act]) -> list[Question]:
    """Of the acts that a person can answer with a form; a deferred result comes from elsewhere."""
    return [question for act in acts if (question := _question_of(act)) is not None]


def _question_of(act: Act) -> Question | None:
    times = sum(change.state in (ActState.WAITING, ActState.UNKNOWN) for change in act.changes)
    key = f"{act.call_id}.{times}"
    if act.state is ActState.UNKNOWN:
        return Question(key, act, f"Nobody knows whether this call happened: {describe(act)}", _RESOLVE)
    if act.waiting_for == "approval":
        return Question(key, act, f"{act.agent} wants to call {describe(act)}", _APPROVE)
    if act.waiting_for == "input":
        return Question(key, act, str((act.asked or {}).get("question") or act.why or act.name), _schema_of(act))
    return None


def describe(act: Act) -> str:
    """A call and why it waits, in one line."""
    arguments = act.effective if len(act.effective) <= LONGEST else act.effective[:LONGEST] + "…"
    why = f" ({act.why})" if act.why else ""
    return f"{act.name} {arguments}{why} [CALL_ID {act.call_id}]"


def _schema_of(act: Act) -> dict[str, Any]:
    """The form of an answer: fields as the call wants them, if the protocol has such fields; else one text."""
    asked = act.asked or {}
    choices, schema = asked.get("choices"), asked.get("schema")
    if choices:
        return _one_field({"type": "string", "enum": choices})
    if isinstance(schema, dict) and _is_form(schema):
        return schema
    described = {"description": "JSON that fits the schema of the question."} if schema else {}
    return _one_field({"type": "string", **described})


def _one_field(field: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"answer": {"title": "Answer", **field}}, "required": ["answer"]}


def _is_form(schema: Mapping[str, Any]) -> bool:
    fields = schema.get("properties")
    if not isinstance(fields, Mapping) or not fields:
        return False
    return all(isinstance(one, Mapping) and one.get("type") in _PRIMITIVES for one in fields.values())


async def give_answer(
    runtime: Runtime, handled: Handled, question: Question, given: types.ElicitResult, *, caller: Principal
) -> bool:
    """Whether the answer decides the call; `cancel` decides nothing. What is decided already stays as it is.

    Raises Forbidden (`missing_scope`): the caller may not answer calls.
    """
    if given.action == "cancel":
        return False
    check_operation(caller, "session", "answer_call")
    by = caller.effective_user
    content: Mapping[str, Any] = given.content or {}
    try:
        await _decide(runtime, handled, question, content, is_accepted=given.action == "accept", by=by)
    except (Conflict, ApprovalExpired):
        pass  # somebody else was faster, and the turn goes on
    return True


async def _decide(
    runtime: Runtime, handled: Handled, question: Question, content: Mapping[str, Any], *, is_accepted: bool, by: str
) -> None:
    decisions, call_id = runtime.house.decisions, question.act.call_id
    owner, _ = await decisions.locate(handled.session_log, call_id)
    if question.schema is _APPROVE:
        reason = str(content.get("reason") or "")[:2000] or None
        approved = is_accepted and content.get("approved") is True
        await decisions.decide(owner, call_id, approved=approved, by=by, reason=reason)
    elif question.schema is _RESOLVE:
        outcome = content.get("outcome") if is_accepted else NOT_HAPPENED
        again = outcome == AGAIN
        await decisions.resolve(owner, call_id, by=by, happened=outcome == HAPPENED, again=again)
    elif is_accepted:
        is_ours = question.schema is not (question.act.asked or {}).get("schema")
        answer = content.get("answer", "") if is_ours else dict(content)
        await decisions.give_result(owner, call_id, by=by, result=answer)
    else:
        await decisions.give_result(owner, call_id, by=by, error="The person declined to answer.")
