"""Messages over HTTP: send one and wait for the answer; read messages, events and turns."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import Path, Query
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from app.domain.message import Message
from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Limit, NamedSession, clamp, gone, principal_of, runtime_of, session_of
from app.doors.json_route import json_router, parse, read_body, read_json, take_user
from app.doors.pending import steered_json, waiting_json
from app.doors.schemas import fields
from app.doors.schemas import messages as schemas
from app.doors.schemas.events import EventPage, event_json
from app.doors.schemas.turns import Turn as TurnShown
from app.doors.schemas.turns import turn_json
from app.events.log import SessionLog
from app.routers.send import Door, accept
from app.runtime import Runtime
from app.turns.open_turn import OpenTurn

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
    take_user(request.scope, read_json(given))
    log = await session_of(request)
    runtime = runtime_of(request)
    wanted = parse(given, schemas.AddMessage)
    runtime.conversation.check_length(wanted.content)
    agent = runtime.roster.get(request.path_params["agent"], principal_of(request))
    added = await runtime.admission.add(log, agent, wanted.role, wanted.content)
    return answer(schemas.message_json(added), 201)


@router.post("/agents/{agent}/messages", include_in_schema=False)
async def send_one_shot(request: Request) -> Response:
    return await _send(request, Door.ONE_SHOT)


async def _send(request: Request, door: Door, given: bytes | None = None) -> Response:
    """The stream, collected: the caller waits as a reader, and its leaving is a reader's leaving."""
    following = await accept(runtime_of(request), request.scope, request.receive, door, given=given)
    session_id = following.session_id
    if following.sending.background:  # no reader: the client does not wait
        turn = await following.start()
        response = answer({"turn_id": turn.turn_id, "session_id": session_id, "after": following.reading.cursor}, 202)
    else:
        with following:
            turn = await following.start()
            if isinstance(turn, OpenTurn) and turn.steers:
                response = answer(steered_json(following, turn), 202)
            else:
                outcome = await following.outcome(turn, lambda: gone(request.receive))
                if outcome is None:
                    response = answer(await waiting_json(runtime_of(request), following, turn), 202)
                else:
                    outcome.raise_for_end(session_id)
                    response = answer(schemas.answer_json(session_id, outcome, is_json=following.is_json(turn)))
    response.headers["X-Session-Id"] = session_id
    return response


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
    roles: Annotated[
        str | None, Query(description="Only these roles, with commas between.", examples=["user,assistant"])
    ] = None,
) -> Response:
    wanted = frozenset(roles.split(",")) if roles is not None else None
    before = NEWEST if before is None else before
    page = await _read_page(runtime, session_log, before=before, limit=limit + 1, roles=wanted)
    more = len(page) > limit
    page = page[-limit:]
    messages = [schemas.message_json(message) for message in page]
    shows_answer = wanted is None or "assistant" in wanted
    if before == NEWEST and shows_answer and (running := _running(runtime, session_log)) is not None:
        messages.append(running)
    found: schemas.MessagePage = {"messages": messages, "next_before": page[0].seq if more and page else None}
    return answer(found)


async def _read_page(
    runtime: Runtime, log: SessionLog, *, before: int, limit: int, roles: frozenset[str] | None
) -> list[Message]:
    """A page that holds the answer of a turn which ended while it was read: else it would be in no list at all."""
    while True:
        was_running = log.tape
        page = await runtime.history.messages(log, before=before, limit=limit, roles=roles)
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
    reading = runtime.conversation.read(session_log, None, after=max(after, 0), from_start=after <= 0, merge=False)
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
    acts = await runtime.house.decisions.page(session_log, turn_id=turn_id, limit=200)
    return answer(turn_json(turn, session_log.session.session_id, acts))
