"""What people do with conversations: fork, edit, regenerate, export, import."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.domain.clock import iso
from app.domain.errors import InvalidRequest
from app.domain.message import Message
from app.domain.session import Session
from app.routers import schemas
from app.routers.dependencies import body_of, parse, principal_of, read_body, runtime_of
from app.routers.openapi import describe
from app.routers.sessions import answer, session_of, shown
from app.sessions.draft import Draft, Seed

router = APIRouter()

FORMAT = 1


@router.post(
    "/agents/{agent}/sessions/{session_id}/fork",
    **describe("A new session with the messages up to one of them", 201, schemas.Fork, body_required=False),
)
async def fork(request: Request) -> Response:
    log = await session_of(request)
    wanted = await body_of(request, schemas.Fork)
    runtime = runtime_of(request)
    made = await runtime.copies.fork(
        principal_of(request), log, at=wanted.at, title=wanted.title, session_id=wanted.session_id
    )
    return answer(shown(runtime, made), 201)


@router.put(
    "/agents/{agent}/sessions/{session_id}/messages/{message_id}",
    **describe("Edit a user message: a fork up to there with the new text", 201, schemas.EditMessage),
)
async def edit(request: Request) -> Response:
    log = await session_of(request)
    wanted = await body_of(request, schemas.EditMessage)
    runtime = runtime_of(request)
    message_id = request.path_params["message_id"]
    made = await runtime.copies.edit(principal_of(request), log, message_id, wanted.content)
    return answer(shown(runtime, made), 201)


@router.get(
    "/agents/{agent}/sessions/{session_id}/export", **describe("The whole conversation, as JSON or Markdown", 200)
)
async def export(request: Request) -> Response:
    form = request.query_params.get("format", "json")
    if form not in ("json", "markdown"):
        raise InvalidRequest("format must be json or markdown.")
    log = await session_of(request)
    messages = await runtime_of(request).copies.read(log)
    if form == "markdown":
        return Response(_markdown(log.session, messages), media_type="text/markdown; charset=utf-8")
    return answer(_export(log.session, messages))


@router.post("/agents/{agent}/sessions/import", **describe("A new session from an export", 201, schemas.ImportSession))
async def import_session(request: Request) -> Response:
    runtime = runtime_of(request)
    agent = runtime.roster.get(request.path_params["agent"])
    body = await read_body(request.scope, request.receive, runtime.config.server.max_import)
    wanted = parse(body, schemas.ImportSession)
    draft = Draft(
        title=wanted.session.title,
        metadata=wanted.session.metadata,
        seeds=tuple([_seed(message) for message in wanted.messages]),
    )
    made, _ = await runtime.sessions.create(principal_of(request), agent.name, draft=draft)
    return answer(shown(runtime, made), 201)


def _seed(message: schemas.ImportedMessage) -> Seed:
    created = message.created_at
    created_ms = int(created.timestamp() * 1000) if created is not None else None
    return Seed(message.role, message.content, message.status, created_ms)


def _export(session: Session, messages: list[Message]) -> dict[str, Any]:
    return {
        "hector": FORMAT,
        "session": {
            "session_id": session.session_id,
            "agent": session.agent,
            "user_id": session.user_id,
            "title": session.title,
            "metadata": session.metadata,
            "created_at": iso(session.created_ms),
        },
        "messages": [schemas.message_json(message) for message in messages],
    }


def _markdown(session: Session, messages: list[Message]) -> str:
    parts = [f"# {session.title or session.session_id}"]
    for message in messages:
        if message.status == "replaced":
            continue
        mark = "" if message.status == "completed" else f" ({message.status})"
        parts.append(f"## {message.role.capitalize()}{mark}\n\n{message.content}")
    return "\n\n".join(parts) + "\n"
