"""Signatures of the operations that read their requests themselves, for the OpenAPI document only.

The streams are plain ASGI, messages are accepted by the same code as streams, and an import of memories is no JSON
object. Nothing here is served; a test compares these signatures with the routes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, Header, Query
from starlette.responses import StreamingResponse

from app.doors.dependencies import AgentPath, SessionPath
from app.doors.json_route import items_of, json_router
from app.doors.schemas.events import Frame
from app.doors.schemas.memories import ImportedCounts, ImportedMemory
from app.doors.schemas.messages import AddMessage, Answer, BackgroundTurn, Message, Regenerate, SendMessage
from app.routers.memories import LINES

router = json_router("messages")
memories_router = json_router("memories")

Debug = Annotated[bool, Query(description="Show debug frames.")]
Frames = Annotated[Literal["all", "text"], Query(description="`text`: plain chunks only.")]
Depth = Annotated[Literal["0"] | None, Query(description="`0`: without what agents do that this one calls.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Send the message only once, however often it is tried.",
    ),
]
Ticket = Annotated[str | None, Query(description="A ticket for the streams of this session, instead of a key.")]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="Where the stream was cut.")]

_SESSION_HEADER = {
    "headers": {"X-Session-Id": {"description": "The session, also that of a one-shot.", "schema": {"type": "string"}}}
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: _SESSION_HEADER,
    202: {"model": BackgroundTurn, "description": "Begun in the background.", **_SESSION_HEADER},
}


class _EventStream(StreamingResponse):
    media_type = "text/event-stream"


_STREAM: dict[str, Any] = {
    "response_class": _EventStream,
    "response_model": Frame,
    "response_description": "Server-sent events.",
    "openapi_extra": items_of("text/event-stream", "Frame"),
}
_TURN_STREAM: dict[str, Any] = {**_STREAM, "responses": {200: _SESSION_HEADER}}


@router.post(
    "/agents/{agent}/sessions/{session_id}/messages",
    summary="Send a message",
    response_model=Answer,
    response_description="The answer.",
    responses={**_ANSWER, 201: {"model": Message, "description": "Added without a turn."}},
)
async def send_message(
    agent: AgentPath, session_id: SessionPath, body: SendMessage | AddMessage, idempotency_key: IdempotencyKey = None
) -> None: ...


@router.post(
    "/agents/{agent}/messages",
    summary="Send a message outside a session",
    response_model=Answer,
    response_description="The answer.",
    responses=_ANSWER,
)
async def send_one_shot(agent: AgentPath, body: SendMessage, idempotency_key: IdempotencyKey = None) -> None:
    """Each call gets a fresh ephemeral session. A caller that leaves stops its turn."""


@router.post(
    "/agents/{agent}/sessions/{session_id}/regenerate",
    summary="Answer the last message again",
    response_model=Answer,
    response_description="The new answer.",
    responses=_ANSWER,
)
async def regenerate(
    agent: AgentPath, session_id: SessionPath, body: Regenerate, idempotency_key: IdempotencyKey = None
) -> None: ...


@router.post(
    "/agents/{agent}/sessions/{session_id}/messages/stream",
    summary="Send a message and stream the turn (SSE)",
    **_TURN_STREAM,
)
async def stream_message(
    agent: AgentPath,
    session_id: SessionPath,
    body: SendMessage,
    debug: Debug = False,
    frames: Frames = "all",
    depth: Depth = None,
    ticket: Ticket = None,
    idempotency_key: IdempotencyKey = None,
    last_event_id: LastEventId = None,
) -> None: ...


@router.post(
    "/agents/{agent}/messages/stream",
    summary="Send a message outside a session and stream the turn (SSE)",
    **_TURN_STREAM,
)
async def stream_one_shot(
    agent: AgentPath,
    body: SendMessage,
    debug: Debug = False,
    frames: Frames = "all",
    depth: Depth = None,
    idempotency_key: IdempotencyKey = None,
    last_event_id: LastEventId = None,
) -> None: ...


@router.post(
    "/agents/{agent}/sessions/{session_id}/regenerate/stream",
    summary="Answer the last message again and stream the turn (SSE)",
    **_TURN_STREAM,
)
async def stream_regenerated(
    agent: AgentPath,
    session_id: SessionPath,
    body: Regenerate,
    debug: Debug = False,
    frames: Frames = "all",
    depth: Depth = None,
    idempotency_key: IdempotencyKey = None,
    last_event_id: LastEventId = None,
) -> None: ...


@router.get(
    "/agents/{agent}/sessions/{session_id}/messages/stream",
    summary="Follow the session (SSE); never starts a turn",
    responses={204: {"description": "Nothing new, and nothing to come."}},
    **_STREAM,
)
async def follow_session(
    agent: AgentPath,
    session_id: SessionPath,
    after: Annotated[
        str | None,
        Query(
            description="Follow what comes after this event number; 0 from the start of what is kept.", examples=["10"]
        ),
    ] = None,
    until: Annotated[Literal["turn_end"] | None, Query(description="`turn_end`: close after the open turn.")] = None,
    debug: Debug = False,
    frames: Frames = "all",
    depth: Depth = None,
    ticket: Ticket = None,
    last_event_id: LastEventId = None,
) -> None: ...


@memories_router.post(
    "/agents/{agent}/memories/import", summary="Memories from an export", response_model=ImportedCounts
)
async def import_memories(agent: AgentPath, body: Annotated[ImportedMemory, Body(media_type=LINES)]) -> None:
    """One memory a line."""
