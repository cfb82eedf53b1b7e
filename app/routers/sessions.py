"""Sessions over HTTP: create, list, info, change, end, cancel, terminate."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.auth.authenticate import with_user
from app.domain.errors import InvalidRequest
from app.domain.session import SessionStatus
from app.domain.turn import TurnState
from app.events.log import SessionLog
from app.routers import schemas
from app.routers.dependencies import body_of, limit_of, principal_of, runtime_of
from app.routers.openapi import describe
from app.runtime import Runtime
from app.sessions.draft import Draft, Seed
from app.sessions.tombstones import receipt_json

router = APIRouter()

_STATUSES = ("active", "ended", "expired")


def answer(shown: object, status: int = 200) -> Response:
    return Response(orjson.dumps(shown), status, media_type="application/json")


async def session_of(request: Request) -> SessionLog:
    """The session named in the path, if it is this caller's."""
    runtime = runtime_of(request)
    agent = runtime.roster.get(request.path_params["agent"])
    return await runtime.sessions.get(principal_of(request), agent.name, request.path_params["session_id"])


def shown(runtime: Runtime, log: SessionLog, *, with_turn: bool = True) -> dict[str, Any]:
    """The wire object of a session; with the running turn and its partial text."""
    session = log.session
    found = schemas.session_json(session, expires_ms=runtime.endings.expires_ms(session), last_seq=log.visible_seq)
    if with_turn:
        turns = runtime.history.open_turns(log)
        queued = [schemas.open_turn_json(turn) for turn in turns if turn.state is TurnState.QUEUED]
        found["queued"] = len(queued)
        found["queue"] = queued
        running = next((turn for turn in turns if turn.state is not TurnState.QUEUED), None)
        text = log.visible_text()
        found["turn"] = schemas.open_turn_json(running, text=text) if running is not None else None
    return found


@router.post(
    "/agents/{agent}/sessions",
    **describe("Create a session", 201, schemas.CreateSession, body_required=False, also="200 it was there already"),
)
async def create(request: Request) -> Response:
    runtime = runtime_of(request)
    agent = runtime.roster.get(request.path_params["agent"])
    wanted = await body_of(request, schemas.CreateSession)
    principal = principal_of(request)
    if wanted.user_id is not None:
        principal = with_user(principal, wanted.user_id)
    log, is_new = await runtime.sessions.create(
        principal,
        agent.name,
        session_id=wanted.session_id,
        draft=Draft(
            title=wanted.title,
            metadata=wanted.metadata,
            ephemeral=wanted.ephemeral,
            seeds=tuple([Seed(message.role, message.content) for message in wanted.messages]),
        ),
    )
    return answer(shown(runtime, log, with_turn=not is_new), 201 if is_new else 200)


@router.get("/agents/{agent}/sessions", **describe("List sessions, newest first", 200))
async def list_sessions(request: Request) -> Response:
    runtime = runtime_of(request)
    agent = runtime.roster.get(request.path_params["agent"])
    query = request.query_params
    limit = limit_of(request)
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        raise InvalidRequest(f"status must be one of {', '.join(_STATUSES)}.")
    order: Literal["creation", "activity"] = "activity" if query.get("order") == "activity" else "creation"
    if query.get("order", order) not in ("creation", "activity"):
        raise InvalidRequest("order must be creation or activity.")
    page = await runtime.sessions.list(
        principal_of(request),
        agent.name,
        user_id=query.get("user_id"),
        status=status,
        order=order,
        before=_read_cursor(query.get("cursor"), order),
        limit=limit + 1,
    )
    more = len(page) > limit
    page = page[:limit]
    last = page[-1] if more else None
    expires_ms = runtime.endings.expires_ms
    return answer(
        {
            "sessions": [schemas.session_json(session, expires_ms=expires_ms(session)) for session in page],
            "next_cursor": _write_cursor(
                order, last.created_ms if order == "creation" else last.active_ms, last.session_id
            )
            if last
            else None,
        }
    )


@router.get("/agents/{agent}/sessions/{session_id}", **describe("A session, with its running turn", 200))
async def info(request: Request) -> Response:
    return answer(shown(runtime_of(request), await session_of(request)))


@router.patch(
    "/agents/{agent}/sessions/{session_id}", **describe("Change title or metadata", 200, schemas.PatchSession)
)
async def patch(request: Request) -> Response:
    log = await session_of(request)
    wanted = await body_of(request, schemas.PatchSession)
    runtime = runtime_of(request)
    given, session = wanted.model_fields_set, log.session
    await runtime.sessions.describe(
        log,
        title=wanted.title if "title" in given else session.title,
        metadata=(wanted.metadata or {}) if "metadata" in given else session.metadata,
    )
    return answer(shown(runtime, log))


@router.post("/agents/{agent}/sessions/{session_id}/end", **describe("End a session: it stays readable", 200))
async def end(request: Request) -> Response:
    log = await session_of(request)
    runtime = runtime_of(request)
    await runtime.endings.end(log)
    return answer(shown(runtime, log))


@router.post(
    "/agents/{agent}/sessions/{session_id}/cancel",
    **describe("Cancel the running turn, one turn, or all", 200, schemas.CancelTurn, body_required=False),
)
async def cancel(request: Request) -> Response:
    log = await session_of(request)
    wanted = await body_of(request, schemas.CancelTurn)
    runtime = runtime_of(request)
    if wanted.turn_id is not None:
        await runtime.history.find(log, wanted.turn_id)
    turn = await runtime.turns.cancel(log, turn_id=wanted.turn_id, everything=wanted.all)
    return answer(schemas.turn_json(turn, log.session.session_id) if turn is not None else None)


@router.delete(
    "/agents/{agent}/sessions/{session_id}",
    **describe("Terminate: stop, erase, bury the id; answers with a receipt", 200),
)
async def terminate(request: Request) -> Response:
    forget = request.query_params.get("forget")
    if forget not in (None, "all"):
        raise InvalidRequest("forget must be all: what is remembered of the session for other sessions goes, too.")
    log = await session_of(request)
    assert log.over is not SessionStatus.TERMINATED
    receipt = await runtime_of(request).terminations.terminate(log, forget_all=forget == "all")
    return answer(receipt_json(receipt))


def _write_cursor(order: str, time_ms: int, session_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([order, time_ms, session_id])).decode().rstrip("=")


def _read_cursor(cursor: str | None, order: str) -> tuple[int, str] | None:
    if cursor is None:
        return None
    try:
        made_for, time_ms, session_id = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        is_ours = made_for == order and isinstance(time_ms, int) and isinstance(session_id, str)
        if is_ours and 0 <= time_ms < 2**63 and "\0" not in session_id:
            return time_ms, session_id
    except (ValueError, TypeError, binascii.Error):
        pass
    raise InvalidRequest("cursor is not one this list gave out (with the same order).")
