"""What users do with whole conversations: fork, edit, export, import."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from starlette.responses import Response

from app.domain.clock import iso
from app.domain.message import Message, ToolCallRecord
from app.domain.session import Session
from app.doors.answers import Answer, answer
from app.doors.dependencies import AppRuntime, Caller, NamedAgent, NamedSession
from app.doors.json_route import ImportRoute, json_router
from app.doors.schemas import fields
from app.doors.schemas.messages import EditMessage, message_json
from app.doors.schemas.sessions import ForkSession, ImportedMessage, ImportSession, SessionDetail, SessionExport
from app.doors.sessions import check_metadata, detail_json
from app.sessions.draft import Draft, Seed

router = json_router("conversations")

FORMAT: Literal[1] = 1


@router.post(
    "/agents/{agent}/sessions/{session_id}/fork",
    summary="A new session with the messages up to one of them",
    status_code=201,
    response_model=SessionDetail,
)
async def fork_session(runtime: AppRuntime, caller: Caller, session_log: NamedSession, body: ForkSession) -> Response:
    made = await runtime.copies.fork(caller, session_log, at=body.at, title=body.title, session_id=body.session_id)
    return answer(detail_json(runtime, made), 201)


@router.put(
    "/agents/{agent}/sessions/{session_id}/messages/{message_id}",
    summary="Edit a user message: a fork up to there with the new text",
    status_code=201,
    response_model=SessionDetail,
)
async def edit_message(
    runtime: AppRuntime,
    caller: Caller,
    session_log: NamedSession,
    message_id: Annotated[fields.MessageId, Path()],
    body: EditMessage,
) -> Response:
    made = await runtime.copies.edit(caller, session_log, message_id, body.content)
    return answer(detail_json(runtime, made), 201)


@router.get(
    "/agents/{agent}/sessions/{session_id}/export",
    summary="The whole conversation, as JSON or Markdown",
    response_model=SessionExport,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
)
async def export_session(
    runtime: AppRuntime, session_log: NamedSession, format: Literal["json", "markdown"] = "json"
) -> Response:
    messages = await runtime.copies.read(session_log)
    if format == "markdown":
        return Answer(_markdown(session_log.session, messages), media_type="text/markdown; charset=utf-8")
    return answer(_export(session_log.session, messages))


async def import_session(runtime: AppRuntime, caller: Caller, agent: NamedAgent, body: ImportSession) -> Response:
    check_metadata(runtime, body.session.metadata)
    draft = Draft(
        title=body.session.title,
        metadata=body.session.metadata,
        seeds=tuple([_seed(message) for message in body.messages]),
    )
    made, _ = await runtime.sessions.create(caller, agent.name, draft=draft)
    return answer(detail_json(runtime, made), 201)


router.add_api_route(
    "/agents/{agent}/sessions/import",
    import_session,
    methods=["POST"],
    route_class_override=ImportRoute,
    summary="A new session from an export",
    status_code=201,
    response_model=SessionDetail,
)


def _seed(message: ImportedMessage) -> Seed:
    created = message.created_at
    created_ms = fields.milliseconds(created) if created is not None else None
    calls = [ToolCallRecord(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]
    return Seed(
        message.role, message.content, message.status, created_ms, tuple(calls), message.tool_call_id, message.trust
    )


def _export(session: Session, messages: list[Message]) -> SessionExport:
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
        "messages": [message_json(message) for message in messages],
    }


def _markdown(session: Session, messages: list[Message]) -> str:
    parts = [f"# {session.title or session.session_id}"]
    for message in messages:
        if message.status == "replaced":
            continue
        mark = "" if message.status == "completed" else f" ({message.status})"
        parts.append(f"## {message.role.capitalize()}{mark}\n\n{message.content}")
    return "\n\n".join(parts) + "\n"
