"""Acts over HTTP: the ledger, approvals, results that come later, unknown outcomes, stored results."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BeforeValidator
from starlette.responses import Response

from app.domain.act import ActState
from app.domain.errors import NotFound
from app.domain.principal import Principal
from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Caller, Limit, NamedAgent, NamedSession, clamp
from app.doors.json_route import json_router
from app.doors.schemas import acts as schemas
from app.doors.schemas.acts import act_json

router = json_router("acts")

_SESSION = "/agents/{agent}/sessions/{session_id}"
CallPath = Annotated[schemas.CallId, Path(max_length=200)]
PIECE = 16_384
MOST = 1_048_576


@router.get(f"{_SESSION}/calls", summary="The acts of a session", response_model=schemas.ActList)
async def list_calls(
    runtime: AppRuntime,
    session_log: NamedSession,
    turn_id: str | None = None,
    state: schemas.StateName | None = None,
    limit: Limit = 50,
) -> Response:
    """Oldest first, with every change of state."""
    states = [ActState(state)] if state is not None else []
    found = await runtime.house.decisions.page(session_log, turn_id=turn_id, states=states, limit=limit)
    return answer({"calls": [act_json(act) for act in found]})


@router.get(f"{_SESSION}/calls/{{call_id}}", summary="An act", response_model=schemas.ActShown)
async def get_call(runtime: AppRuntime, session_log: NamedSession, call_id: CallPath) -> Response:
    _, act = await runtime.house.decisions.locate(session_log, call_id)
    return answer(act_json(act))


@router.get(f"{_SESSION}/approvals", summary="Open approvals of a session", response_model=schemas.ApprovalList)
async def list_approvals(runtime: AppRuntime, session_log: NamedSession, limit: Limit = 50) -> Response:
    """Those of agents that its agent called, too."""
    found = await runtime.house.decisions.page(
        session_log, states=[ActState.WAITING], waiting_for="approval", with_children=True, limit=limit
    )
    return answer({"approvals": [act_json(act) for act in found]})


@router.get(
    "/agents/{agent}/approvals",
    summary="Open approvals of all sessions with an agent",
    response_model=schemas.ApprovalList,
)
async def list_all_approvals(runtime: AppRuntime, caller: Caller, agent: NamedAgent, limit: Limit = 50) -> Response:
    found = await runtime.house.decisions.waiting(caller, agent.name, limit=limit)
    return answer({"approvals": [act_json(act) for act in found]})


@router.post(f"{_SESSION}/approvals/{{call_id}}", summary="Approve or refuse a call", response_model=schemas.ActShown)
async def decide(
    runtime: AppRuntime, caller: Caller, session_log: NamedSession, call_id: CallPath, body: schemas.Decide
) -> Response:
    """409 `already_decided` when somebody else was faster, 410 `approval_expired` when nobody answered in time."""
    decisions = runtime.house.decisions
    owner, act = await decisions.locate(session_log, call_id)
    act = await decisions.decide(
        owner,
        call_id,
        approved=body.approved,
        by=name_of(caller),
        arguments=body.arguments,
        reason=body.reason,
        remember=body.remember,
    )
    return answer(act_json(act))


@router.post(
    f"{_SESSION}/calls/{{call_id}}/result",
    summary="The result of a deferred call, or the answer to a question",
    response_model=schemas.ActShown,
)
async def give_result(
    runtime: AppRuntime, caller: Caller, session_log: NamedSession, call_id: CallPath, body: schemas.GiveResult
) -> Response:
    """The same once more changes nothing; another one is 409. A call's own `?token=` takes the place of a key."""
    decisions = runtime.house.decisions
    owner, _ = await decisions.locate(session_log, call_id)
    act = await decisions.give_result(owner, call_id, by=name_of(caller), result=body.result, error=body.error)
    return answer(act_json(act))


@router.post(
    f"{_SESSION}/calls/{{call_id}}/resolve",
    summary="Say what became of an unknown call",
    response_model=schemas.ActShown,
)
async def resolve(
    runtime: AppRuntime, caller: Caller, session_log: NamedSession, call_id: CallPath, body: schemas.Resolve
) -> Response:
    decisions = runtime.house.decisions
    owner, _ = await decisions.locate(session_log, call_id)
    act = await decisions.resolve(
        owner, call_id, by=name_of(caller), happened=bool(body.happened), again=body.again, result=body.result
    )
    return answer(act_json(act))


@router.get(
    f"{_SESSION}/results/{{result_id}}", summary="A stored result, in pieces", response_model=schemas.ResultPart
)
async def read_result(
    runtime: AppRuntime,
    session_log: NamedSession,
    result_id: Annotated[schemas.ResultId, Path(max_length=200)],
    offset: Annotated[int, Query(), BeforeValidator(clamp(0, 2**40))] = 0,
    limit: Annotated[int, Query(), BeforeValidator(clamp(1, MOST))] = PIECE,
    grep: Annotated[str | None, Query(max_length=200, description="Only lines that contain this.")] = None,
) -> Response:
    whole = await runtime.house.decisions.stored_result(session_log, result_id)
    if whole is None:
        raise NotFound(f"There is no result {result_id!r} in this session.", reason="result_not_found")
    text = whole if grep is None else "\n".join([line for line in whole.splitlines() if grep in line])
    piece = text[offset : offset + limit]
    end = offset + len(piece)
    found: schemas.ResultPart = {
        "result_id": result_id,
        "bytes": len(whole.encode(errors="replace")),
        "offset": offset,
        "text": piece,
        "next_offset": end if end < len(text) else None,
    }
    return answer(found)


def name_of(caller: Principal) -> str:
    """Who decides, as the record has it."""
    return caller.effective_user
