"""Sessions over HTTP: create, list, read, change, end, cancel, terminate."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response

from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Caller, Cursor, Limit, NamedAgent, NamedSession
from app.doors.json_route import json_router
from app.doors.list_cursor import read_cursor, write_cursor
from app.doors.schemas.sessions import (
    CancelTurn,
    CreateSession,
    PatchSession,
    SessionDetail,
    SessionPage,
    StopReceipt,
    session_json,
)
from app.doors.schemas.turns import Turn, turn_json
from app.doors.schemas.webhooks import webhooks_json
from app.doors.sessions import check_metadata, detail_json, read_webhooks, terminate
from app.sessions.draft import Draft, Seed
from app.sessions.tombstones import receipt_json

router = json_router("sessions")


@router.post(
    "/agents/{agent}/sessions",
    summary="Create a session",
    status_code=201,
    response_model=SessionDetail,
    responses={200: {"model": SessionDetail, "description": "It was there already."}},
)
async def create_session(runtime: AppRuntime, caller: Caller, agent: NamedAgent, body: CreateSession) -> Response:
    check_metadata(runtime, body.metadata)
    webhooks = await read_webhooks(runtime, body.webhooks)
    session_log, is_new = await runtime.sessions.create(
        caller,
        agent.name,
        session_id=body.session_id,
        draft=Draft(
            title=body.title,
            metadata=body.metadata,
            ephemeral=body.ephemeral,
            seeds=tuple([Seed(message.role, message.content) for message in body.messages]),
            webhooks=webhooks,
        ),
    )
    found = detail_json(runtime, session_log, with_turn=not is_new)
    if is_new and webhooks:
        found["webhooks"] = webhooks_json(webhooks)
    return answer(found, 201 if is_new else 200)


@router.get("/agents/{agent}/sessions", summary="List sessions, newest first", response_model=SessionPage)
async def list_sessions(
    runtime: AppRuntime,
    caller: Caller,
    agent: NamedAgent,
    status: Literal["active", "ended", "expired"] | None = None,
    order: Annotated[
        Literal["creation", "activity"], Query(description="`activity`: by the last activity.")
    ] = "creation",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Terminated and ephemeral sessions are not listed."""
    page = await runtime.sessions.list(
        caller,
        agent.name,
        status=status,
        order=order,
        before=read_cursor(cursor, order),
        limit=limit + 1,
    )
    more = len(page) > limit
    page = page[:limit]
    last = page[-1] if more else None
    expires_ms = runtime.endings.expires_ms
    found: SessionPage = {
        "sessions": [session_json(session, expires_ms=expires_ms(session)) for session in page],
        "next_cursor": write_cursor(order, last.created_ms if order == "creation" else last.active_ms, last.session_id)
        if last
        else None,
    }
    return answer(found)


@router.get(
    "/agents/{agent}/sessions/{session_id}", summary="A session, with its running turn", response_model=SessionDetail
)
async def get_session(runtime: AppRuntime, session_log: NamedSession) -> Response:
    return answer(detail_json(runtime, session_log))


@router.patch("/agents/{agent}/sessions/{session_id}", summary="Change title or metadata", response_model=SessionDetail)
async def patch_session(runtime: AppRuntime, session_log: NamedSession, body: PatchSession) -> Response:
    given, session = body.model_fields_set, session_log.session
    check_metadata(runtime, body.metadata)
    await runtime.sessions.describe(
        session_log,
        title=body.title if "title" in given else session.title,
        metadata=(body.metadata or {}) if "metadata" in given else session.metadata,
    )
    return answer(detail_json(runtime, session_log))


@router.post(
    "/agents/{agent}/sessions/{session_id}/end",
    summary="End a session: it stays readable",
    response_model=SessionDetail,
)
async def end_session(runtime: AppRuntime, session_log: NamedSession) -> Response:
    await runtime.endings.end(session_log)
    return answer(detail_json(runtime, session_log))


@router.post(
    "/agents/{agent}/sessions/{session_id}/cancel",
    summary="Cancel the running turn, one turn, or all",
    response_model=Turn | None,
    response_description="The turn; null when none was open.",
)
async def cancel_turn(runtime: AppRuntime, session_log: NamedSession, body: CancelTurn) -> Response:
    if body.turn_id is not None:
        await runtime.history.find(session_log, body.turn_id)
    turn = await runtime.stopping.cancel(session_log, turn_id=body.turn_id, everything=body.all)
    return answer(turn_json(turn, session_log.session.session_id) if turn is not None else None)


@router.delete(
    "/agents/{agent}/sessions/{session_id}",
    summary="Terminate: stop, erase, retire the id",
    response_model=StopReceipt,
    response_description="The receipt of the stop.",
)
async def terminate_session(
    runtime: AppRuntime,
    caller: Caller,
    session_log: NamedSession,
    forget: Annotated[
        Literal["all"] | None,
        Query(description="`all`: erase also what is remembered of the session for other sessions."),
    ] = None,
) -> Response:
    receipt = await terminate(runtime, caller, session_log, forget_all=forget == "all")
    return answer(receipt_json(receipt))
