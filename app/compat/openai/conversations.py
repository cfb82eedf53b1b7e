"""`/conversations`: sessions, and their messages as items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from app.compat.openai.chat import agent_of
from app.compat.openai.errors import invalid
from app.compat.openai.located import find_conversation
from app.compat.openai.texts import read_history
from app.domain.errors import NotFound
from app.domain.message import Message, is_blank
from app.domain.session import Session
from app.doors.answers import answer
from app.doors.json_route import check_items, parse, read_body
from app.doors.sessions import check_metadata
from app.events.log import SessionLog
from app.runtime import Runtime
from app.sessions.draft import Draft, Seed

PAGE = 100
"""Messages that are read at a time."""
_NEWEST = 2**62


class CreateConversation(BaseModel):
    """`model` is ours: the agent; so is `metadata.agent`, for clients that cannot send it."""

    model: str | None = None
    items: list[Any] | None = None
    metadata: dict[str, Any] | None = None


class UpdateConversation(BaseModel):
    metadata: dict[str, Any]


class CreateItems(BaseModel):
    items: list[Any]


async def create(runtime: Runtime, request: Request) -> ASGIApp:
    body = parse(await _body(runtime, request), CreateConversation)
    check_metadata(runtime, body.metadata)
    named = body.model or (body.metadata or {}).get("agent")
    caller = request.scope["principal"]
    agent = agent_of(runtime, str(named), caller) if named else next(iter(runtime.roster.listed(caller)), None)
    if agent is None:
        raise invalid("model", "names the agent")
    seeds = _seeds(runtime, body.items or [])
    session_log, _ = await runtime.sessions.create(caller, agent.name, draft=Draft(metadata=body.metadata, seeds=seeds))
    return answer(_conversation(session_log.session))


async def get(runtime: Runtime, request: Request) -> ASGIApp:
    return answer(_conversation((await _found(runtime, request)).session))


async def update(runtime: Runtime, request: Request) -> ASGIApp:
    session_log = await _found(runtime, request)
    body = parse(await _body(runtime, request), UpdateConversation)
    check_metadata(runtime, body.metadata)
    await runtime.sessions.describe(session_log, title=session_log.session.title, metadata=body.metadata)
    return answer(_conversation(session_log.session))


async def delete(runtime: Runtime, request: Request) -> ASGIApp:
    session_log = await _found(runtime, request)
    await runtime.terminations.terminate(session_log)
    return answer({"id": session_log.session.session_id, "object": "conversation.deleted", "deleted": True})


async def add_items(runtime: Runtime, request: Request) -> ASGIApp:
    """Messages that start no turn, and calls of the client's tools with their outcomes."""
    session_log = await _found(runtime, request)
    seeds = _seeds(runtime, parse(await _body(runtime, request), CreateItems).items)
    agent = runtime.roster.get(session_log.session.agent, request.scope["principal"])
    _check_calls(seeds)
    for seed in seeds:
        runtime.conversation.check_length(seed.content)
    added = [
        await runtime.admission.add(
            session_log, agent, seed.role, seed.content, tool_calls=seed.tool_calls, tool_call_id=seed.tool_call_id
        )
        for seed in seeds
    ]
    return answer(_list([_item(message) for message in added], has_more=False))


async def list_items(runtime: Runtime, request: Request) -> ASGIApp:
    """What user and assistant said, and the calls that clients added; the newest first unless `order=asc`."""
    session_log = await _found(runtime, request)
    query = request.query_params
    limit = _limit(query.get("limit"))
    after = query.get("after")
    if query.get("order") == "asc":
        every = [one for one in await runtime.copies.read(session_log) if _is_shown(one)]
        place = next((at + 1 for at, one in enumerate(every) if one.message_id == after), 0 if not after else None)
        if place is None:
            raise _no_item(after)
        page, more = every[place : place + limit], len(every) > place + limit
    else:
        before = _NEWEST if after is None else (await _item_at(runtime, session_log, after)).seq
        shown = await _newest(runtime, session_log, before, limit + 1)
        page, more = shown[:limit], len(shown) > limit
    return answer(_list([_item(message) for message in page], has_more=more))


async def _newest(runtime: Runtime, session_log: SessionLog, before: int, wanted: int) -> list[Message]:
    """At most so many messages that are items, the newest first."""
    shown: list[Message] = []
    while len(shown) < wanted:
        found = await runtime.history.messages(session_log, before=before, limit=PAGE)
        shown += [one for one in reversed(found) if _is_shown(one)]
        if len(found) < PAGE:
            break
        before = found[0].seq
    return shown[:wanted]


async def get_item(runtime: Runtime, request: Request) -> ASGIApp:
    session_log = await _found(runtime, request)
    return answer(_item(await _item_at(runtime, session_log, request.path_params["item"])))


async def _found(runtime: Runtime, request: Request) -> SessionLog:
    return await find_conversation(runtime, request.scope["principal"], request.path_params["conversation"])


async def _body(runtime: Runtime, request: Request) -> bytes:
    return await read_body(request.scope, request.receive, runtime.config.server.max_body)


async def _item_at(runtime: Runtime, session_log: SessionLog, item_id: str) -> Message:
    found = await runtime.history.message(session_log, item_id)
    if found is None or not _is_shown(found):
        raise _no_item(item_id)
    return found


def _no_item(item_id: str | None) -> NotFound:
    return NotFound(f"There is no item {str(item_id)[:80]!r} in this conversation.", reason="message_not_found")


def _seeds(runtime: Runtime, items: list[Any]) -> tuple[Seed, ...]:
    check_items(len(items), runtime.config.server)
    said = read_history(items, "items")
    if said.instructions is not None:
        raise invalid("items", "a session has no system messages; send instructions with each response")
    return said.history


def _check_calls(seeds: Sequence[Seed]) -> None:
    """Raises InvalidRequest: a model would refuse a history with these."""
    called = {call.call_id for seed in seeds for call in seed.tool_calls}
    outcomes = {seed.tool_call_id for seed in seeds if seed.role == "tool"}
    if called != outcomes:
        raise invalid("items", "a call (function_call) and its outcome (function_call_output) are added in one request")
    if any(len(seed.tool_calls) > 1 or (seed.tool_calls and seed.content) for seed in seeds):
        raise invalid("items", "each call is an item of its own, of type function_call")


def _limit(given: str | None) -> int:
    if given is not None and not given.isdigit():
        raise invalid("limit", "must be a whole number")
    return min(max(int(given or 20), 1), 100)


def _is_shown(message: Message) -> bool:
    """The calls of turns are none of the client's business: the agent made them on this side."""
    if message.turn_id is None and (message.tool_calls or message.role == "tool"):
        return True
    return message.role != "tool" and message.status != "replaced" and not is_blank(message.content)


def _conversation(session: Session) -> dict[str, Any]:
    return {
        "id": session.session_id,
        "object": "conversation",
        "created_at": session.created_ms // 1000,
        "metadata": session.metadata,
    }


def _item(message: Message) -> dict[str, Any]:
    for call in message.tool_calls if message.turn_id is None else ():
        return {
            "id": message.message_id,
            "type": "function_call",
            "status": "completed",
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
        }
    if message.role == "tool":
        return {
            "id": message.message_id,
            "type": "function_call_output",
            "status": "completed",
            "call_id": message.tool_call_id,
            "output": message.content,
        }
    part: dict[str, Any] = {"type": "input_text", "text": message.content}
    if message.role == "assistant":
        part = {"type": "output_text", "text": message.content, "annotations": [], "logprobs": []}
    status = "completed" if message.status == "completed" else "incomplete"
    return {
        "id": message.message_id,
        "type": "message",
        "status": status,
        "role": message.role,
        "content": [part],
    }


def _list(items: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more}
