"""Answers: a client's message to a task that waits, as the decision, answer or result that its acts want."""

from __future__ import annotations

import re
from typing import Any

from a2a.types import Message
from a2a.utils.errors import InvalidParamsError

from app.compat.a2a.parts import answers_of, text_of
from app.domain.act import Act, ActState
from app.events.log import SessionLog
from app.runtime import Runtime

_YES = frozenset({"yes", "y", "ok", "okay", "approve", "approved", "allow", "allowed", "true"})
_NO = re.compile(
    r"(?:no|n|deny|denied|refuse|refused|reject|rejected|false)\b[\s:,.!-]*(.*)", re.IGNORECASE | re.DOTALL
)
_HAPPENED = {"happened": (True, False), "did not happen": (False, False), "again": (False, True)}
_HOW = 'answer "yes" or "no", or send a data part {"call_id": …, "approved": true}'


async def give_answers(
    runtime: Runtime, session_log: SessionLog, waiting: list[Act], message: Message, *, by: str
) -> None:
    """Answer what a turn waits for. A data part answers one act, named by its `call_id` where several wait.

    Raises:
        InvalidParamsError: the message does not say what to do, or to which act.
        Conflict (`already_decided`), ApprovalExpired, InvalidRequest: what `Decisions` refuses.
    """
    data = [one for one in answers_of(message) if _is_answer(one)]
    if data:
        chosen = [(_named(waiting, one.get("call_id")), one) for one in data]
    else:
        chosen = [(_named(waiting, None), _said(_named(waiting, None), text_of(message)))]
    for act, answer in chosen:
        await _give(runtime, session_log, act, answer, by=by)


def _is_answer(given: dict[str, Any]) -> bool:
    return bool(given.keys() & {"call_id", "approved", "answer", "result", "error", "happened", "again"})


def _named(waiting: list[Act], call_id: object) -> Act:
    found = [act for act in waiting if call_id in (None, act.call_id)]
    if len(found) == 1:
        return found[0]
    names = ", ".join([act.call_id for act in waiting]) or "nothing"
    raise InvalidParamsError(f"The task waits for {names}: name one of them by call_id in a data part.")


def _said(act: Act, text: str) -> dict[str, Any]:
    """What a text means for an act."""
    if act.state is ActState.UNKNOWN:
        happened = _HAPPENED.get(text.strip().casefold())
        if happened is None:
            raise InvalidParamsError("Answer with one of: happened, did not happen, again.")
        return {"happened": happened[0], "again": happened[1]}
    if act.waiting_for != "approval":
        return {"answer": text}
    if text.strip().strip(".!").casefold() in _YES:
        return {"approved": True}
    if refusal := _NO.fullmatch(text.strip()):
        return {"approved": False, "reason": refusal[1].strip() or None}
    raise InvalidParamsError(f"The task waits for an approval: {_HOW}.")


async def _give(runtime: Runtime, session_log: SessionLog, act: Act, answer: dict[str, Any], *, by: str) -> None:
    decisions = runtime.house.decisions
    owner, act = await decisions.locate(session_log, act.call_id)
    if act.state is ActState.UNKNOWN:
        if not (isinstance(answer.get("happened"), bool) or answer.get("again") is True):
            raise InvalidParamsError(
                'Say what became of the call: {"happened": true}, {"happened": false} or {"again": true}.'
            )
        happened, again = answer.get("happened") is True, answer.get("again") is True
        await decisions.resolve(owner, act.call_id, by=by, happened=happened, again=again, result=answer.get("result"))
    elif act.waiting_for == "approval":
        await _decide(runtime, owner, act, answer, by=by)
    else:
        error = answer.get("error")
        result = answer["answer"] if "answer" in answer else answer.get("result")
        if error is None and result is None:
            raise InvalidParamsError('The task waits for an answer: send it as text, or as a data part {"answer": …}.')
        await decisions.give_result(
            owner, act.call_id, by=by, result=result, error=None if error is None else str(error)
        )


async def _decide(runtime: Runtime, owner: SessionLog, act: Act, answer: dict[str, Any], *, by: str) -> None:
    approved, arguments, remember = answer.get("approved"), answer.get("arguments"), answer.get("remember")
    reason = answer.get("reason")
    is_clear = isinstance(approved, bool) and (arguments is None or isinstance(arguments, dict))
    if not is_clear or remember not in (None, "session", "agent") or not isinstance(reason, str | None):
        raise InvalidParamsError(f"The task waits for an approval: {_HOW}.")
    await runtime.house.decisions.decide(
        owner, act.call_id, approved=approved is True, by=by, arguments=arguments, reason=reason, remember=remember
    )
