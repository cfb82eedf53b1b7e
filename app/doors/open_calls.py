"""Open calls: what a turn waits for, and answers to it, for doors whose clients answer with their next request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.act import Act, ActState
from app.domain.errors import InvalidRequest
from app.domain.principal import Principal
from app.doors.scopes import check_operation
from app.events.log import SessionLog
from app.runtime import Runtime

MOST = 200
"""Calls that one turn waits for, at most."""
_WITHOUT_ANSWER = "The person gave no answer."


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """What a client answers to a call that waits.

    `value`: for an approval an object with `approved` and perhaps `arguments`, `reason` and `remember`; for a call
    whose outcome is unknown one with `happened` (and `result`) or `again`; for a question or a deferred call the
    answer itself.
    `is_refused`: the person does not want to answer.
    """

    call_id: str
    value: Any = None
    is_refused: bool = False


async def open_calls(runtime: Runtime, session_log: SessionLog) -> list[Act]:
    """The calls of the open turn that wait for somebody, those of agents that it called too; oldest first."""
    found = await runtime.house.decisions.page(
        session_log, states=[ActState.WAITING, ActState.UNKNOWN], with_children=True, limit=MOST
    )
    return [act for act in found if act.waiting_for is not None and not act.is_checkpointed]


async def answer_call(runtime: Runtime, caller: Principal, session_log: SessionLog, given: CallAnswer) -> Act:
    """Hand the answer to the call; its turn goes on when nothing else waits.

    Raises:
        Forbidden (`missing_scope`): the caller may not answer calls.
        InvalidRequest: the answer does not have the form that the call needs.
        NotFound, Conflict (`already_decided`), ApprovalExpired, Unavailable.
    """
    check_operation(caller, "session", "answer_call")
    decisions, by = runtime.house.decisions, caller.effective_user
    owner, act = await decisions.locate(session_log, given.call_id)
    if act.state is ActState.UNKNOWN:
        said = {"happened": False} if given.is_refused else _object(given)
        return await decisions.resolve(
            owner,
            act.call_id,
            by=by,
            happened=said.get("happened") is True,
            again=said.get("again") is True,
            result=said.get("result"),
        )
    if act.waiting_for in ("input", "result"):
        error = _WITHOUT_ANSWER if given.is_refused else None
        return await decisions.give_result(owner, act.call_id, by=by, result=given.value, error=error)
    said = {"approved": False} if given.is_refused else _object(given)
    return await decisions.decide(
        owner,
        act.call_id,
        approved=_approved(said),
        by=by,
        arguments=_optional(said, "arguments", dict),
        reason=_optional(said, "reason", str),
        remember=_remember(said),
    )


def _object(given: CallAnswer) -> Mapping[str, Any]:
    if not isinstance(given.value, Mapping):
        raise InvalidRequest(f"The answer to call {given.call_id!r} must be an object.")
    return given.value


def _approved(said: Mapping[str, Any]) -> bool:
    approved = said.get("approved")
    if not isinstance(approved, bool):
        raise InvalidRequest("approved: must be true or false")
    return approved


def _optional(said: Mapping[str, Any], name: str, kind: type) -> Any:
    value = said.get(name)
    if value is not None and not isinstance(value, kind):
        raise InvalidRequest(f"{name}: must be {'an object' if kind is dict else 'a string'}")
    return value


def _remember(said: Mapping[str, Any]) -> str | None:
    remember = said.get("remember")
    if remember not in (None, "session", "agent"):
        raise InvalidRequest('remember: must be "session" or "agent"')
    return remember
