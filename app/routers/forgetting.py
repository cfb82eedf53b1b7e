"""Erasure over HTTP: a user, a session, a memory or a phrase is erased; the answer is a receipt."""

from __future__ import annotations

from starlette.responses import Response

from app.domain.errors import InvalidRequest, NotFound, SessionOver
from app.domain.phrase import Phrase
from app.domain.principal import Principal
from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Caller, NamedAgent
from app.doors.json_route import json_router
from app.doors.schemas.forgetting import Forget, ForgetReceipt, receipt_json
from app.runtime import Runtime
from app.storage.memories import Owned

router = json_router("memories")


@router.post(
    "/agents/{agent}/forget",
    summary="Forget a user, a session, a memory or a phrase",
    response_model=ForgetReceipt,
    response_description="The receipt.",
)
async def forget(runtime: AppRuntime, caller: Caller, agent: NamedAgent, body: Forget) -> Response:
    """Agents without a long-term memory forget, too: they have messages."""
    _check(body)
    if body.session_id is not None:
        await _check_session(runtime, caller, agent.name, body.session_id)
    if body.memory_id is not None:
        owned = Owned(agent.name, caller.id, user_id=caller.user_id, session_id=body.session_id)
        await runtime.memories.get(owned, body.memory_id)
    receipt = await runtime.forgettings.forget(
        agent.name,
        caller.id,
        user_id=caller.user_id,
        session_id=body.session_id,
        memory_id=body.memory_id,
        phrase=body.phrase,
    )
    return answer(receipt_json(agent.name, receipt))


def _check(body: Forget) -> None:
    if not any((body.user_id, body.session_id, body.memory_id, body.phrase)):
        raise InvalidRequest("Say what to forget: user_id, session_id, memory_id or phrase.")
    if body.phrase is None:
        return
    if body.memory_id is not None:
        raise InvalidRequest("Either phrase or memory_id: a memory is forgotten as a whole.")
    try:
        Phrase(body.phrase)
    except ValueError as error:
        raise InvalidRequest(f"phrase: {error}") from None


async def _check_session(runtime: Runtime, principal: Principal, agent: str, session_id: str) -> None:
    """Accept a session of the caller; also one that is gone, while memories of it are stored."""
    try:
        await runtime.sessions.get(principal, agent, session_id)
    except SessionOver:
        return
    except NotFound:
        owned = Owned(agent, principal.id, user_id=principal.user_id, session_id=session_id)
        if not await runtime.memories.list(owned, before=None, limit=1):
            raise
