"""Forgetting over HTTP: a user, a session, a memory or a phrase goes for good; the answer is a receipt."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictStr
from starlette.responses import Response

from app.auth.authenticate import with_user
from app.domain.errors import InvalidRequest, NotFound, SessionOver
from app.domain.forgetting import ForgetReceipt
from app.domain.phrase import Phrase
from app.domain.principal import Principal
from app.routers.dependencies import body_of, principal_of, runtime_of
from app.routers.openapi import describe
from app.routers.sessions import answer
from app.runtime import Runtime
from app.storage.memories import Owned

router = APIRouter()

KINDS = (
    *("sessions", "turns", "messages", "events", "summaries", "titles", "idempotency_keys", "usage_rows"),
    *("memories", "versions", "vectors", "recalled"),
)


class Forget(BaseModel):
    """Body of `POST …/forget`: at least one of these; together they narrow each other."""

    model_config = ConfigDict(extra="ignore")

    user_id: StrictStr | None = Field(default=None, min_length=1, max_length=256)
    session_id: StrictStr | None = Field(default=None, min_length=1, max_length=128)
    memory_id: StrictStr | None = Field(default=None, min_length=1, max_length=128)
    phrase: StrictStr | None = Field(default=None, min_length=1, max_length=1000)


@router.post("/agents/{agent}/forget", **describe("Forget a user, a session, a memory or a phrase", 200, Forget))
async def forget(request: Request) -> Response:
    """Always there, also for agents without long-term memory: they have messages."""
    runtime, principal = runtime_of(request), principal_of(request)
    agent = runtime.roster.get(request.path_params["agent"])
    wanted = await body_of(request, Forget)
    _check(wanted)
    if wanted.user_id is not None:
        principal = with_user(principal, wanted.user_id)
    if wanted.session_id is not None:
        await _check_session(runtime, principal, agent.name, wanted.session_id)
    if wanted.memory_id is not None:
        owned = Owned(agent.name, principal.id, user_id=principal.user_id, session_id=wanted.session_id)
        await runtime.memories.get(owned, wanted.memory_id)
    receipt = await runtime.forgettings.forget(
        agent.name,
        principal.id,
        user_id=principal.user_id,
        session_id=wanted.session_id,
        memory_id=wanted.memory_id,
        phrase=wanted.phrase,
    )
    return answer(_receipt_json(agent.name, receipt))


def _check(wanted: Forget) -> None:
    if not any((wanted.user_id, wanted.session_id, wanted.memory_id, wanted.phrase)):
        raise InvalidRequest("Say what to forget: user_id, session_id, memory_id or phrase.")
    if wanted.phrase is None:
        return
    if wanted.memory_id is not None:
        raise InvalidRequest("Either phrase or memory_id: a memory is forgotten as a whole.")
    try:
        Phrase(wanted.phrase)
    except ValueError as error:
        raise InvalidRequest(f"phrase: {error}") from None


async def _check_session(runtime: Runtime, principal: Principal, agent: str, session_id: str) -> None:
    """A session of the caller's; also one that is gone, as long as something is remembered of it."""
    try:
        await runtime.sessions.get(principal, agent, session_id)
    except SessionOver:
        return
    except NotFound:
        owned = Owned(agent, principal.id, user_id=principal.user_id, session_id=session_id)
        if not await runtime.memories.list(owned, before=None, limit=1):
            raise


def _receipt_json(agent: str, receipt: ForgetReceipt) -> dict[str, Any]:
    return {
        "agent": agent,
        "removed": {kind: receipt.removed[kind] for kind in KINDS},
        "found_afterwards": receipt.found_afterwards,
        "found_in": receipt.found_in,
        "problem": receipt.problem,
    }
