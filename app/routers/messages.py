"""Messages over HTTP: send one and wait for the answer; read messages, events and turns."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import Path, Query
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from app.domain.errors import Conflict, Internal, ModelFailed, SessionOver, Unavailable
from app.domain.message import Message
from app.domain.turn import Turn, TurnState
from app.events.log import SessionLog
from app.routers.dependencies import AppRuntime, Limit, NamedSession, clamp, gone, runtime_of, session_of
from app.routers.json_route import answer, json_router, parse, read_body
from app.routers.schemas import fields
from app.routers.schemas import messages as schemas
from app.routers.schemas.events import EventPage, event_json
from app.routers.schemas.turns import Turn as TurnShown
from app.routers.schemas.turns import turn_json
from app.routers.send import Door, accept, check_length
from app.runtime import Runtime
from app.turns.desk import OpenTurn, Outcome

router = json_router("messages")

NEWEST = 2**62
"""Above every number of an event."""


@router.post("/agents/{agent}/sessions/{session_id}/messages", include_in_schema=False)
async def send_message(request: Request) -> Response:
    runtime = runtime_of(request)
    given = await read_body(request.scope, request.receive, runtime.config.server.max_body)
    if b'"turn"' in given and _is_without_turn(given):
        return await _add(request, given)
    return await _send(request, Door.MESSAGE, given)


@router.post("/agents/{agent}/sessions/{session_id}/regenerate", include_in_schema=False)
async def regenerate(request: Request) -> Response:
    return await _send(request, Door.REGENERATE)


def _is_without_turn(given: bytes) -> bool:
    try:
        body = orjson.loads(given)
    except orjson.JSONDecodeError:
        return False
    return isinstance(body, dict) and body.get("turn") is False


async def _add(request: Request, given: bytes) -> Response:
    """A message that starts no turn."""
    log = await session_of(request)
    runtime = runtime_of(request)
    wanted = parse(given, schemas.AddMessage)
    check_length(runtime, wanted.content)
    agent = runtime.roster.get(request.path_params["agent"])
    added = await runtime.turns.add(log, agent, wanted.role, wanted.content)
    return answer(schemas.message_json(added), 201)


@router.post("/agents/{agent}/messages", include_in_schema=False)
async def send_one_shot(request: Request) -> Response:
    return await _send(request, Door.ONE_SHOT)


async def _send(request: Request, door: Door, given: bytes | None = None) -> Response:
    """The stream, collected: the caller waits as a reader, and its leaving is a reader's leaving."""
    runtime = runtime_of(request)
    accepted = await accept(runtime, request.scope, request.receive, door, given=given)
    session_id = accepted.log.session.session_id
    if accepted.background:  # not a reader: nobody waits here
        turn = await accepted.start()
        response = answer({"turn_id": turn.turn_id, "session_id": session_id, "after": accepted.reading.cursor}, 202)
    else:
        with accepted.reading:
            turn = await accepted.start()
            outcome = await _outcome(runtime, request, accepted.log, turn)
        response = answer(_answered(session_id, outcome))
    response.headers["X-Session-Id"] = session_id
    return response


async def _outcome(runtime: Runtime, request: Request, log: SessionLog, turn: OpenTurn | Turn) -> Outcome:
    if isinstance(turn, Turn):
        return await runtime.history.outcome_of(log, turn)
    leaving = asyncio.ensure_future(gone(request.receive))
    try:
        waited: list[asyncio.Future[Any]] = [turn.done, leaving, runtime.stop_signal]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    if turn.done.done():
        return turn.done.result()
    if runtime.stop_signal.done():
        raise Unavailable(
            "The server is shutting down; the turn may still end, look for it later.",
            reason="shutting_down",
            details={"turn_id": turn.turn_id, "partial": log.tape.text() if log.tape is not None else ""},
        )
    raise Unavailable("The client has left.", reason="client_left")  # nobody reads this


def _answered(session_id: str, outcome: Outcome) -> dict[str, Any]:
    """The answer of a completed turn. Raises what fits any other end, with the partial text in its details."""
    if outcome.state is TurnState.COMPLETED:
        return {
            "response": outcome.text,
            "session_id": session_id,
            "turn_id": outcome.turn_id,
            "message_id": outcome.message_id,
            "usage": outcome.usage,
            "timings": outcome.timings,
        }
    details: dict[str, object] = {
        "turn_id": outcome.turn_id,
        "session_id": session_id,
        "message_id": outcome.message_id,
        "partial": outcome.text,
    }
    if outcome.state is TurnState.CANCELLED:
        if outcome.reason == "session_terminated":
            raise SessionOver(
                "The session was terminated while this turn ran.",
                reason="session_terminated",
                details=details,
            )
        details["cancelled_by"] = outcome.reason
        raise Conflict("The turn was cancelled.", reason="turn_cancelled", details=details)
    if outcome.state is TurnState.INTERRUPTED:
        raise Unavailable(
            "The server stopped while this turn ran; its text so far is kept.",
            reason="shutting_down",
            details=details,
        )
    error = outcome.error or {}
    message = str(error.get("message", "The turn failed."))
    details |= {name: value for name, value in error.items() if name not in ("message", "reason")}
    if outcome.reason == "storage_unavailable":
        raise Unavailable(message, details=details)
    if outcome.reason in ("llm_error", "llm_timeout"):
        raise ModelFailed(message, reason=outcome.reason, details=details)
    raise Internal(message, details=details)


@router.get(
    "/agents/{agent}/sessions/{session_id}/messages",
    summary="Messages, a page at a time",
    response_model=schemas.MessagePage,
)
async def list_messages(
    runtime: AppRuntime,
    session_log: NamedSession,
    limit: Limit = 50,
    before: Annotated[
        int | None,
        Query(description="Only messages before this number; `next_before` of the page after."),
        BeforeValidator(clamp(0, NEWEST)),
    ] = None,
) -> Response:
    before = NEWEST if before is None else before
    page = await _read_page(runtime, session_log, before=before, limit=limit + 1)
    more = len(page) > limit
    page = page[-limit:]
    messages = [schemas.message_json(message) for message in page]
    if before == NEWEST and (running := _running(runtime, session_log)) is not None:
        messages.append(running)
    found: schemas.MessagePage = {"messages": messages, "next_before": page[0].seq if more and page else None}
    return answer(found)


async def _read_page(runtime: Runtime, log: SessionLog, *, before: int, limit: int) -> list[Message]:
    """A page that holds the answer of a turn which ended while it was read: else it would be in no list at all."""
    while True:
        was_running = log.tape
        page = await runtime.history.messages(log, before=before, limit=limit)
        if before != NEWEST or was_running is None or log.tape is was_running:
            return page


def _running(runtime: Runtime, log: SessionLog) -> schemas.Message | None:
    """The answer that is being written: it exists from its first delta on."""
    turn = next(iter(runtime.history.open_turns(log)), None)
    text = log.visible_text()
    if turn is None or not text:
        return None
    message = Message(
        turn.message_id,
        log.session.session_id,
        turn.turn_id,
        "assistant",
        text,
        turn.state.value,
        log.visible_seq,
        turn.started_ms,
    )
    return schemas.message_json(message)


@router.get(
    "/agents/{agent}/sessions/{session_id}/events", summary="Events, a page at a time", response_model=EventPage
)
async def list_events(
    runtime: AppRuntime,
    session_log: NamedSession,
    limit: Limit = 50,
    after: Annotated[
        int,
        Query(description="Only events after this number; `next_after` of the page before."),
        BeforeValidator(clamp(-1, NEWEST)),
    ] = 0,
) -> Response:
    """Every kind of event, whatever the agent shows in streams."""
    found: list[dict[str, Any]] = []
    # Not entered: one page is no reader, for whom a turn would go on.
    reading = runtime.read(session_log, after=max(after, 0), from_start=after <= 0, merge=False)
    while len(found) < limit:
        runs = reading.take()
        if runs is None:
            runs = await reading.replay()
        elif not runs:
            break
        found += [event_json(run, seq, frame) for run in runs for seq, frame in run.frames()]
    found = found[:limit]
    last = found[-1]["seq"] if found else None
    is_more = last is not None and last < session_log.visible_seq
    return answer({"events": found, "next_after": last if is_more else None})


@router.get("/agents/{agent}/sessions/{session_id}/turns/{turn_id}", summary="A turn", response_model=TurnShown)
async def get_turn(
    runtime: AppRuntime, session_log: NamedSession, turn_id: Annotated[fields.TurnId, Path(max_length=200)]
) -> Response:
    turn = await runtime.history.find(session_log, turn_id)
    return answer(turn_json(turn, session_log.session.session_id))
