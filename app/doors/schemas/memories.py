"""Memories on the wire: bodies of requests, lines of an import, and what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from typing_extensions import TypedDict

from app.domain.clock import iso
from app.domain.memory import Memory as StoredMemory
from app.domain.memory import MemoryKind, Scope
from app.doors.schemas.fields import (
    AgentName,
    BroughtTime,
    Count,
    Cues,
    MemoryId,
    MessageId,
    Milliseconds,
    ModelName,
    NamedUser,
    Role,
    Score,
    SessionId,
    Speaker,
    Time,
    TurnId,
    UserId,
    milliseconds,
)
from app.memory.memories import APART, Indexing, Line
from app.memory.recall import Hit, Recollection
from app.memory.scope import scope_of
from app.storage.memories import Removed
from app.storage.memory_transfer import Version

FORMAT = 1
"""Version of the format of an export."""

# -- bodies ------------------------------------------------------------------------------------------


class AddMemory(BaseModel):
    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"text": "Ann drinks jasmine tea", "pinned": True}]}
    )

    text: StrictStr = Field(min_length=1)
    role: Role = "user"
    user_id: NamedUser | None = None
    session_id: StrictStr | None = Field(default=None, description="The session that the memory is to belong to.")
    scope: Scope | None = Field(
        default=None, description="Who sees it; default, and at most: the agent's storage_scope."
    )
    pinned: StrictBool = False


class PatchMemory(BaseModel):
    """A field that is left out stays."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"text": "Ann drinks green tea"}]})

    text: StrictStr | None = Field(default=None, min_length=1)
    pinned: StrictBool | None = None


class SearchMemories(BaseModel):
    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"query": "What tea does Ann drink?"}]})

    query: StrictStr = Field(min_length=1, max_length=10_000)
    limit: int = Field(default=10, ge=1, le=50)
    scope: Scope | None = Field(
        default=None, description="How far to look; default, and at most: the agent's storage_scope."
    )
    session_id: StrictStr | None = Field(default=None, description="Find what this session would recall.")
    threshold: float = Field(default=0.0, ge=0, le=1, description="Least score.")


class ReindexMemories(BaseModel):
    """Nothing is required."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"again": True}]})

    again: StrictBool = Field(default=False, description="Embed also what the present model has embedded.")


class ImportedVersion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    text: StrictStr
    replaced_at: BroughtTime


class ImportedMemory(BaseModel):
    """A line of an export, as `GET …/memories/export` answers it; only `text` is required."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"text": "Ann lives in Oslo"}]})

    text: StrictStr = Field(min_length=1)
    memory_id: StrictStr | None = None
    kind: MemoryKind = "note"
    role: Role = "user"
    speaker: Speaker | None = None
    user_id: NamedUser | None = None
    session_id: StrictStr | None = Field(default=None, max_length=128)
    turn_id: StrictStr | None = Field(default=None, max_length=128)
    message_id: StrictStr | None = Field(default=None, max_length=128)
    scope: Scope | None = None
    created_at: BroughtTime | None = None
    pinned: StrictBool = False
    versions: list[ImportedVersion] = Field(default_factory=list)

    def line(self, *, user_id: str | None) -> Line:
        """`user_id`: the one that the request names; it replaces that of the line."""
        created = self.created_at
        return Line(
            text=self.text,
            memory_id=self.memory_id,
            kind=self.kind,
            role=self.role,
            speaker=self.speaker,
            user_id=user_id or self.user_id,
            session_id=self.session_id,
            turn_id=self.turn_id,
            message_id=self.message_id,
            scope=self.scope,
            created_ms=milliseconds(created) if created is not None else None,
            is_pinned=self.pinned,
            versions=tuple([(one.text, milliseconds(one.replaced_at)) for one in self.versions]),
        )


# -- answers -----------------------------------------------------------------------------------------


class Memory(TypedDict):
    """Null where it belongs to no session, turn or message, or to another user's."""

    memory_id: MemoryId
    agent: AgentName
    user_id: UserId | None
    session_id: SessionId | None
    turn_id: TurnId | None
    message_id: MessageId | None
    kind: MemoryKind
    scope: Scope
    role: str
    speaker: UserId | None
    text: Annotated[str, Field(examples=["Ann drinks jasmine tea"])]
    created_at: Time
    version: Annotated[int, Field(examples=[1])]
    pinned: bool


class MemoryVersion(TypedDict):
    """An earlier text of a memory."""

    version: Annotated[int, Field(examples=[1])]
    text: Annotated[str, Field(examples=["Ann drinks tea"])]
    replaced_at: Time


class MemoryDetail(Memory):
    """A memory with its earlier texts."""

    versions: list[MemoryVersion]


class MemoryLine(Memory):
    """A line of an export."""

    hector: Annotated[Literal[1], Field(description="Version of the format.")]
    versions: NotRequired[list[MemoryVersion]]


class MemoryPage(TypedDict):
    """Newest first."""

    memories: list[Memory]
    next_cursor: Annotated[str | None, Field(description="Goes into `cursor` for the next page; null on the last.")]


class NearbyMemory(TypedDict):
    """What was said next to a memory that was found."""

    memory_id: MemoryId
    role: str
    speaker: UserId | None
    text: str


class MemoryHit(Memory):
    score: Score
    cues: Cues
    corrects: Annotated[list[str], Field(description="Ids of memories that this one made untrue.")]
    before: NearbyMemory | None
    after: NearbyMemory | None


class MemoryHits(TypedDict):
    """Best first."""

    hits: list[MemoryHit]
    by_meaning: Annotated[bool, Field(description="Whether vectors took part.")]
    took_ms: Milliseconds


class RemovedCounts(TypedDict):
    memories: Count
    versions: Count
    vectors: Count


class RemovedMemory(TypedDict):
    memory_id: MemoryId
    removed: RemovedCounts


class MemoryIndex(TypedDict):
    """How far the embedding of the caller's memories is."""

    model: ModelName
    memories: Count
    embedded: Count
    waiting: Count


class ImportedCounts(TypedDict):
    imported: Count
    left_out: Annotated[int, Field(description="Memories that were there already.")]


def memory_json(memory: StoredMemory) -> Memory:
    owner = memory.owner
    return {
        "memory_id": memory.memory_id,
        "agent": owner.agent,
        "user_id": owner.user_id,
        "session_id": None if owner.session_id.startswith(APART) else owner.session_id,
        "turn_id": memory.turn_id,
        "message_id": memory.message_id,
        "kind": memory.kind,
        "scope": scope_of(memory.audience),
        "role": memory.role,
        "speaker": memory.speaker,
        "text": memory.text,
        "created_at": iso(memory.created_ms),
        "version": memory.version,
        "pinned": memory.is_pinned,
    }


def versions_json(versions: Sequence[Version]) -> list[MemoryVersion]:
    return [{"version": number, "text": text, "replaced_at": iso(replaced)} for number, text, replaced in versions]


def detail_json(memory: StoredMemory, versions: Sequence[Version]) -> MemoryDetail:
    return {**memory_json(memory), "versions": versions_json(versions)}


def hits_json(found: Recollection, *, principal: str, user_id: str | None) -> MemoryHits:
    """What a search found, for this caller. Scope `all` shows memories of others, but not whose they are."""
    return {
        "hits": [_hit_json(hit, principal, user_id) for hit in found.hits],
        "by_meaning": found.by_meaning,
        "took_ms": round(found.took_ms, 1),
    }


def _hit_json(hit: Hit, principal: str, user_id: str | None) -> MemoryHit:
    owner = hit.memory.owner
    is_own = owner.principal == principal and user_id in (None, owner.user_id)
    shown = memory_json(hit.memory)
    if not is_own:
        shown["user_id"] = shown["session_id"] = shown["turn_id"] = shown["message_id"] = shown["speaker"] = None
    return {
        **shown,
        "score": round(hit.score, 3),
        "cues": {name: round(value, 2) for name, value in hit.cues.items()},
        "corrects": list(hit.corrects),
        "before": _nearby_json(hit.before, is_own),
        "after": _nearby_json(hit.after, is_own),
    }


def _nearby_json(memory: StoredMemory | None, is_own: bool) -> NearbyMemory | None:
    if memory is None:
        return None
    speaker = memory.speaker if is_own else None
    return {"memory_id": memory.memory_id, "role": memory.role, "speaker": speaker, "text": memory.text}


def removed_json(memory_id: str, removed: Removed) -> RemovedMemory:
    counts: RemovedCounts = {
        "memories": removed.memories,
        "versions": removed.versions,
        "vectors": removed.vectors,
    }
    return {"memory_id": memory_id, "removed": counts}


def index_json(found: Indexing) -> MemoryIndex:
    return {
        "model": found.model,
        "memories": found.memories,
        "embedded": found.embedded,
        "waiting": found.memories - found.embedded,
    }
