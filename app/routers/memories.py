"""Memories over HTTP: list, add, read, change, delete, search, export, import, embed anew."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.agents import Agent
from app.auth.authenticate import with_user
from app.config.memory import LongTermConfig
from app.domain.errors import Conflict, InvalidRequest
from app.domain.memory import Owner, Scope
from app.memory.memories import Line
from app.memory.scope import is_within
from app.routers.dependencies import body_of, limit_of, parse, principal_of, read_body, runtime_of
from app.routers.memory_bodies import (
    FORMAT,
    AddMemory,
    ImportedMemory,
    PatchMemory,
    Reindex,
    SearchMemories,
    indexing_json,
    memory_json,
    recollection_json,
    removed_json,
    versions_json,
)
from app.routers.openapi import describe
from app.routers.send import check_length
from app.routers.sessions import answer
from app.storage.memories import Owned

router = APIRouter()

_KINDS = ("message", "summary", "note")
LINES = "application/jsonl"


def _agent_of(request: Request) -> tuple[Agent, LongTermConfig]:
    """The agent named in the path. Raises Conflict (`memory_off`) if it has no long-term memory."""
    agent = runtime_of(request).roster.get(request.path_params["agent"])
    settings = agent.config.memory.longterm
    if settings is None:
        raise Conflict(
            f"Agent {agent.name!r} has no long-term memory; agents.{agent.name}.memory.longterm in the configuration"
            " switches it on.",
            reason="memory_off",
        )
    return agent, settings


def _owned_of(request: Request, agent: Agent) -> Owned:
    """What of the caller's a request is about: all, or what its query chooses."""
    principal, query = principal_of(request), request.query_params
    kind = query.get("kind")
    if kind is not None and kind not in _KINDS:
        raise InvalidRequest(f"kind must be one of {', '.join(_KINDS)}.")
    return Owned(
        agent.name,
        principal.id,
        user_id=query.get("user_id") or principal.user_id,
        session_id=query.get("session_id"),
        kind=kind,
    )


def _scope_of(agent: Agent, settings: LongTermConfig, asked: Scope | None) -> Scope:
    widest = Scope(settings.storage_scope)
    if asked is None:
        return widest
    if not is_within(asked, widest):
        raise InvalidRequest(
            f"scope may be {widest.value} at most: agents.{agent.name}.memory.longterm.storage_scope says so."
        )
    return asked


@router.get("/agents/{agent}/memories", **describe("List memories, newest first", 200))
async def list_memories(request: Request) -> Response:
    agent, _ = _agent_of(request)
    limit = limit_of(request)
    before = _read_cursor(request.query_params.get("cursor"))
    page = await runtime_of(request).memories.list(_owned_of(request, agent), before=before, limit=limit + 1)
    shown = page[:limit]
    more = len(page) > limit
    return answer(
        {
            "memories": [memory_json(memory) for memory in shown],
            "next_cursor": _write_cursor(shown[-1].row) if more else None,
        }
    )


@router.post("/agents/{agent}/memories", **describe("Add a memory", 201, AddMemory))
async def add(request: Request) -> Response:
    agent, settings = _agent_of(request)
    runtime, principal = runtime_of(request), principal_of(request)
    wanted = await body_of(request, AddMemory)
    check_length(runtime, wanted.text)
    if wanted.user_id is not None:
        principal = with_user(principal, wanted.user_id)
    owner = Owner(agent.name, principal.id, principal.effective_user, "")
    if wanted.session_id is not None:
        session = (await runtime.sessions.get(principal, agent.name, wanted.session_id)).session
        if session.ephemeral:
            raise InvalidRequest("session_id: an ephemeral session remembers nothing; name another one, or none.")
        owner = Owner(agent.name, session.principal, session.user_id, session.session_id)
    line = Line(wanted.text, role=wanted.role, is_pinned=wanted.pinned)
    added = await runtime.memories.add(owner, _scope_of(agent, settings, wanted.scope), line)
    return answer(memory_json(added), 201)


@router.post("/agents/{agent}/memories/search", **describe("Search memories", 200, SearchMemories))
async def search(request: Request) -> Response:
    agent, settings = _agent_of(request)
    principal = principal_of(request)
    wanted = await body_of(request, SearchMemories)
    scope = _scope_of(agent, settings, wanted.scope)
    owner = Owner(agent.name, principal.id, principal.effective_user, "")
    if wanted.session_id is not None:
        session = (await runtime_of(request).sessions.get(principal, agent.name, wanted.session_id)).session
        owner = Owner(agent.name, session.principal, session.user_id, session.session_id)
    owned = Owned(agent.name, principal.id, user_id=principal.user_id)
    found = await runtime_of(request).memories.search(
        wanted.query, owner=owner, owned=owned, scope=scope, limit=wanted.limit, threshold=wanted.threshold
    )
    return answer(recollection_json(found, principal=principal.id, user_id=principal.user_id))


@router.post(
    "/agents/{agent}/memories/reindex",
    **describe("Embed anew what another model has embedded", 200, Reindex, body_required=False),
)
async def reindex(request: Request) -> Response:
    agent, _ = _agent_of(request)
    wanted = await body_of(request, Reindex)
    found = await runtime_of(request).memories.reindex(_owned_of(request, agent), again=wanted.again)
    return answer(indexing_json(found))


@router.get("/agents/{agent}/memories/export", **describe("Memories as JSON Lines", 200))
async def export(request: Request) -> Response:
    agent, _ = _agent_of(request)
    pages = runtime_of(request).memories.export(_owned_of(request, agent))

    async def lines() -> AsyncIterator[bytes]:
        async for page in pages:
            found = []
            for memory, versions in page:
                line = {"hector": FORMAT, **memory_json(memory)}
                if versions:
                    line["versions"] = versions_json(versions)
                found.append(orjson.dumps(line))
            yield b"\n".join(found) + b"\n"

    return StreamingResponse(lines(), media_type=LINES)


@router.post("/agents/{agent}/memories/import", **describe("Memories from an export", 200, ImportedMemory))
async def import_memories(request: Request) -> Response:
    agent, settings = _agent_of(request)
    runtime, principal = runtime_of(request), principal_of(request)
    given = await read_body(request.scope, request.receive, runtime.config.server.max_import)
    lines = _lines_of(given, principal.user_id)
    for line in lines:
        check_length(runtime, line.text)
    named = sorted({line.session_id for line in lines if line.session_id is not None})
    owner = Owner(agent.name, principal.id, principal.effective_user, "")
    stored = await runtime.memories.bring_in(
        owner, Scope(settings.storage_scope), lines, sessions=await runtime.sessions.owned(principal, agent.name, named)
    )
    return answer({"imported": stored, "left_out": len(lines) - stored})


def _lines_of(given: bytes, user_id: str | None) -> list[Line]:
    """One memory a line. Raises InvalidRequest, naming the line."""
    found = []
    for number, text in enumerate(given.splitlines(), 1):
        if not text.strip():
            continue
        try:
            found.append(parse(text, ImportedMemory).line(user_id=user_id))
        except InvalidRequest as error:
            raise InvalidRequest(f"line {number}: {error.message}", reason=error.reason) from None
    return found


@router.get("/agents/{agent}/memories/{memory_id}", **describe("A memory, with its earlier texts", 200))
async def read(request: Request) -> Response:
    agent, _ = _agent_of(request)
    memories = runtime_of(request).memories
    memory = await memories.get(_owned_of(request, agent), request.path_params["memory_id"])
    return answer({**memory_json(memory), "versions": versions_json(await memories.versions(memory))})


@router.patch("/agents/{agent}/memories/{memory_id}", **describe("Edit a memory, or pin it", 200, PatchMemory))
async def patch(request: Request) -> Response:
    agent, _ = _agent_of(request)
    runtime = runtime_of(request)
    memory = await runtime.memories.get(_owned_of(request, agent), request.path_params["memory_id"])
    wanted = await body_of(request, PatchMemory)
    check_length(runtime, wanted.text or "")
    changed = await runtime.memories.change(memory, new_text=wanted.text, is_pinned=wanted.pinned)
    return answer({**memory_json(changed), "versions": versions_json(await runtime.memories.versions(changed))})


@router.delete("/agents/{agent}/memories/{memory_id}", **describe("Delete a memory", 200))
async def delete(request: Request) -> Response:
    """Also where long-term memory was switched off: what is stored can always be removed."""
    runtime = runtime_of(request)
    agent = runtime.roster.get(request.path_params["agent"])
    memory_id = request.path_params["memory_id"]
    removed = await runtime.memories.delete(_owned_of(request, agent), memory_id)
    return answer(removed_json(memory_id, removed))


def _write_cursor(row: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(["memories", row])).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        made_for, row = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if made_for == "memories" and isinstance(row, int) and 0 <= row < 2**63:
            return row
    except (ValueError, TypeError, binascii.Error):
        pass
    raise InvalidRequest("cursor is not one this list gave out.")
