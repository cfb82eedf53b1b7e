"""Memories over HTTP: list, add, read, change, delete, search, export, import, embed again."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Annotated, Any, cast

import orjson
from fastapi import Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive

from app.agents import Agent
from app.config.memory import LongTermConfig
from app.domain.errors import Conflict, InvalidRequest, Unavailable
from app.domain.memory import Memory as StoredMemory
from app.domain.memory import MemoryKind, Owner, Scope
from app.doors.answers import PRIVATE_NAMES, answer
from app.doors.dependencies import AppRuntime, Caller, Cursor, Limit, NamedAgent, gone, principal_of, runtime_of
from app.doors.json_route import check_items, items_of, json_router, parse, read_body
from app.doors.schemas import fields
from app.doors.schemas.memories import (
    FORMAT,
    AddMemory,
    ImportedCounts,
    ImportedMemory,
    Memory,
    MemoryDetail,
    MemoryHits,
    MemoryIndex,
    MemoryLine,
    MemoryPage,
    PatchMemory,
    ReindexMemories,
    RemovedMemory,
    SearchMemories,
    detail_json,
    hits_json,
    index_json,
    memory_json,
    removed_json,
    versions_json,
)
from app.memory.memories import Line
from app.memory.scope import is_within
from app.storage.memories import Owned

router = json_router("memories")

LINES = "application/jsonl"
MemoryPath = Annotated[fields.MemoryId, Path()]


async def _remembering(agent: NamedAgent) -> Agent:
    """The agent of the path. Raises Conflict (`memory_off`) if it has no long-term memory."""
    _settings_of(agent)
    return agent


async def _owned_by_caller(
    request: Request,
    agent: NamedAgent,
    session_id: Annotated[str | None, Query(description="Only memories of this session.")] = None,
    kind: MemoryKind | None = None,
) -> Owned:
    """The memories that a request is about: all of the caller's, or those that its query chooses."""
    principal = principal_of(request)
    return Owned(agent.name, principal.id, user_id=principal.user_id, session_id=session_id, kind=kind)


RememberingAgent = Annotated[Agent, Depends(_remembering)]
OwnedByCaller = Annotated[Owned, Depends(_owned_by_caller)]


async def _find_memory(
    request: Request, agent: RememberingAgent, owned: OwnedByCaller, memory_id: MemoryPath
) -> StoredMemory:
    return await runtime_of(request).memories.get(owned, memory_id)


OwnMemory = Annotated[StoredMemory, Depends(_find_memory)]


class _Lines(StreamingResponse):
    media_type = LINES


@router.get("/agents/{agent}/memories", summary="List memories, newest first", response_model=MemoryPage)
async def list_memories(
    runtime: AppRuntime, agent: RememberingAgent, owned: OwnedByCaller, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    page = await runtime.memories.list(owned, before=_read_cursor(cursor), limit=limit + 1)
    shown = page[:limit]
    found: MemoryPage = {
        "memories": [memory_json(memory) for memory in shown],
        "next_cursor": _write_cursor(shown[-1].row) if len(page) > limit else None,
    }
    return answer(found)


@router.post("/agents/{agent}/memories", summary="Add a memory", status_code=201, response_model=Memory)
async def add_memory(runtime: AppRuntime, caller: Caller, agent: RememberingAgent, body: AddMemory) -> Response:
    runtime.conversation.check_length(body.text)
    owner = Owner(agent.name, caller.id, caller.effective_user, "")
    if body.session_id is not None:
        session = (await runtime.sessions.get(caller, agent.name, body.session_id)).session
        if session.ephemeral:
            raise InvalidRequest("session_id: an ephemeral session remembers nothing; name another one, or none.")
        owner = Owner(agent.name, session.principal, session.user_id, session.session_id)
    line = Line(body.text, role=body.role, is_pinned=body.pinned)
    added = await runtime.memories.add(owner, _scope_of(agent, body.scope), line)
    return answer(memory_json(added), 201)


@router.post("/agents/{agent}/memories/search", summary="Search memories", response_model=MemoryHits)
async def search_memories(
    runtime: AppRuntime, caller: Caller, agent: RememberingAgent, body: SearchMemories
) -> Response:
    scope = _scope_of(agent, body.scope)
    owner = Owner(agent.name, caller.id, caller.effective_user, "")
    if body.session_id is not None:
        session = (await runtime.sessions.get(caller, agent.name, body.session_id)).session
        owner = Owner(agent.name, session.principal, session.user_id, session.session_id)
    owned = Owned(agent.name, caller.id, user_id=caller.user_id)
    found = await runtime.memories.search(
        body.query, owner=owner, owned=owned, scope=scope, limit=body.limit, threshold=body.threshold
    )
    return answer(hits_json(found, principal=caller.id, user_id=caller.user_id))


@router.post(
    "/agents/{agent}/memories/reindex",
    summary="Embed again what another model has embedded",
    response_model=MemoryIndex,
)
async def reindex_memories(
    runtime: AppRuntime, agent: RememberingAgent, owned: OwnedByCaller, body: ReindexMemories
) -> Response:
    return answer(index_json(await runtime.memories.reindex(owned, again=body.again)))


@router.get(
    "/agents/{agent}/memories/export",
    summary="Memories as JSON Lines",
    response_class=_Lines,
    response_model=MemoryLine,
    response_description="One memory a line, oldest first.",
    openapi_extra=items_of(LINES, "MemoryLine"),
)
async def export_memories(runtime: AppRuntime, agent: RememberingAgent, owned: OwnedByCaller) -> Response:
    pages = runtime.memories.export(owned)

    async def lines() -> AsyncIterator[bytes]:
        async for page in pages:
            found = []
            for memory, versions in page:
                line = cast(MemoryLine, {"hector": FORMAT, **memory_json(memory)})
                if versions:
                    line["versions"] = versions_json(versions)
                found.append(orjson.dumps(line))
            yield b"\n".join(found) + b"\n"

    return _Lines(lines(), headers=PRIVATE_NAMES)


@router.post("/agents/{agent}/memories/import", include_in_schema=False)
async def import_memories(request: Request, runtime: AppRuntime, caller: Caller, agent: RememberingAgent) -> Response:
    """In the OpenAPI document by its signature (signatures.py): the body is one JSON object a line."""
    given = await read_body(request.scope, request.receive, runtime.config.server.max_import)
    texts = [(number, text) for number, text in enumerate(given.splitlines(), 1) if text.strip()]
    check_items(len(texts), runtime.config.server)
    lines = await asyncio.to_thread(_lines_of, texts, caller.user_id or caller.own_user)
    for line in lines:
        for text in (line.text, *[old for old, _ in line.versions]):
            runtime.conversation.check_length(text)
    named = sorted({line.session_id for line in lines if line.session_id is not None})
    owner = Owner(agent.name, caller.id, caller.effective_user, "")
    sessions = await runtime.sessions.owned(caller, agent.name, named)
    bringing = runtime.memories.bring_in(owner, _scope_of(agent, None), lines, sessions=sessions)
    stored = await _unless_gone(bringing, request.receive)
    found: ImportedCounts = {"imported": stored, "left_out": len(lines) - stored}
    return answer(found)


@router.get(
    "/agents/{agent}/memories/{memory_id}",
    summary="A memory, with its earlier texts",
    response_model=MemoryDetail,
)
async def get_memory(runtime: AppRuntime, memory: OwnMemory) -> Response:
    return answer(detail_json(memory, await runtime.memories.versions(memory)))


@router.patch("/agents/{agent}/memories/{memory_id}", summary="Edit a memory, or pin it", response_model=MemoryDetail)
async def patch_memory(runtime: AppRuntime, memory: OwnMemory, body: PatchMemory) -> Response:
    runtime.conversation.check_length(body.text or "")
    changed = await runtime.memories.change(memory, new_text=body.text, is_pinned=body.pinned)
    return answer(detail_json(changed, await runtime.memories.versions(changed)))


@router.delete("/agents/{agent}/memories/{memory_id}", summary="Delete a memory", response_model=RemovedMemory)
async def delete_memory(runtime: AppRuntime, owned: OwnedByCaller, memory_id: MemoryPath) -> Response:
    """Also where long-term memory was switched off: what is stored can always be removed."""
    return answer(removed_json(memory_id, await runtime.memories.delete(owned, memory_id)))


def _settings_of(agent: Agent) -> LongTermConfig:
    settings = agent.config.memory.longterm
    if settings is None:
        raise Conflict(
            f"Agent {agent.name!r} has no long-term memory; agents.{agent.name}.memory.longterm in the configuration"
            " switches it on.",
            reason="memory_off",
        )
    return settings


def _scope_of(agent: Agent, asked: Scope | None) -> Scope:
    widest = Scope(_settings_of(agent).storage_scope)
    if asked is None:
        return widest
    if not is_within(asked, widest):
        raise InvalidRequest(
            f"scope may be {widest.value} at most: agents.{agent.name}.memory.longterm.storage_scope says so."
        )
    return asked


def _lines_of(texts: Sequence[tuple[int, bytes]], user_id: str | None) -> list[Line]:
    """The memories of numbered lines. Raises InvalidRequest, naming the line."""
    found = []
    for number, text in texts:
        try:
            found.append(parse(text, ImportedMemory).line(user_id=user_id))
        except InvalidRequest as error:
            raise InvalidRequest(f"line {number}: {error.message}", reason=error.reason) from None
    return found


async def _unless_gone(work: Coroutine[Any, Any, int], receive: Receive) -> int:
    """The result of the work, which is given up when the client leaves.

    Raises:
        Unavailable (`client_left`): nobody reads this.
    """
    working = asyncio.create_task(work, name="import of memories")
    leaving = asyncio.create_task(gone(receive), name="leaving of a client")
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Unavailable("The client has left; what was stored stays.", reason="client_left")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait([working, leaving])


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
