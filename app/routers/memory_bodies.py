"""Bodies of requests about memories, and their wire objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictStr

from app.domain.clock import iso
from app.domain.memory import Memory, MemoryKind, Scope
from app.memory.memories import APART, Indexing, Line
from app.memory.recall import Hit, Recollection
from app.memory.scope import scope_of
from app.storage.memories import Removed
from app.storage.memory_transfer import Version

FORMAT = 1
"""Of a line of an export."""


class AddMemory(BaseModel):
    """Body of `POST …/memories`."""

    model_config = ConfigDict(extra="ignore")

    text: StrictStr = Field(min_length=1)
    role: Literal["user", "assistant"] = "user"
    user_id: StrictStr | None = Field(default=None, min_length=1, max_length=256)
    session_id: StrictStr | None = Field(default=None, description="The session it is to belong to.")
    scope: Scope | None = Field(
        default=None, description="Who sees it; default, and at most: the agent's storage_scope."
    )
    pinned: StrictBool = False


class PatchMemory(BaseModel):
    model_config = ConfigDict(extra="ignore")

    text: StrictStr | None = Field(default=None, min_length=1)
    pinned: StrictBool | None = None


class SearchMemories(BaseModel):
    """Body of `POST …/memories/search`."""

    model_config = ConfigDict(extra="ignore")

    query: StrictStr = Field(min_length=1, max_length=10_000)
    limit: int = Field(default=10, ge=1, le=50)
    scope: Scope | None = Field(
        default=None, description="How far to look; default, and at most: the agent's storage_scope."
    )
    session_id: StrictStr | None = Field(default=None, description="Find what this session would recall.")
    threshold: float = Field(default=0.0, ge=0, le=1, description="Least score.")


class Reindex(BaseModel):
    model_config = ConfigDict(extra="ignore")

    again: StrictBool = Field(default=False, description="Embed anew what the present model has embedded, too.")


class ImportedVersion(BaseModel):
    model_config = ConfigDict(extra="ignore")

    text: StrictStr
    replaced_at: AwareDatetime


class ImportedMemory(BaseModel):
    """A line of an export, as `GET …/memories/export` gives it; only `text` is required."""

    model_config = ConfigDict(extra="ignore")

    text: StrictStr = Field(min_length=1)
    memory_id: StrictStr | None = None
    kind: MemoryKind = "note"
    role: Literal["user", "assistant"] = "user"
    speaker: StrictStr | None = Field(default=None, min_length=1, max_length=256)
    user_id: StrictStr | None = Field(default=None, min_length=1, max_length=256)
    session_id: StrictStr | None = Field(default=None, max_length=128)
    turn_id: StrictStr | None = Field(default=None, max_length=128)
    message_id: StrictStr | None = Field(default=None, max_length=128)
    scope: Scope | None = None
    created_at: AwareDatetime | None = None
    pinned: StrictBool = False
    versions: list[ImportedVersion] = Field(default_factory=list)

    def line(self, *, user_id: str | None) -> Line:
        """`user_id`: the one that the request names, who takes the place of the line's."""
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
            created_ms=int(created.timestamp() * 1000) if created is not None else None,
            is_pinned=self.pinned,
            versions=tuple([(one.text, int(one.replaced_at.timestamp() * 1000)) for one in self.versions]),
        )


def memory_json(memory: Memory) -> dict[str, Any]:
    """A memory as lists show it. Null where it is of no session, turn or message."""
    owner = memory.owner
    return {
        "memory_id": memory.memory_id,
        "agent": owner.agent,
        "user_id": owner.user_id,
        "session_id": None if owner.session_id.startswith(APART) else owner.session_id,
        "turn_id": memory.turn_id,
        "message_id": memory.message_id,
        "kind": memory.kind,
        "scope": scope_of(memory.audience).value,
        "role": memory.role,
        "speaker": memory.speaker,
        "text": memory.text,
        "created_at": iso(memory.created_ms),
        "version": memory.version,
        "pinned": memory.is_pinned,
    }


def versions_json(versions: Sequence[Version]) -> list[dict[str, Any]]:
    return [{"version": number, "text": text, "replaced_at": iso(replaced)} for number, text, replaced in versions]


def recollection_json(found: Recollection, *, principal: str, user_id: str | None) -> dict[str, Any]:
    """What a search found, for whoever asked. Under scope `all` others' memories are shown, but not whose they are."""
    return {
        "hits": [_hit_json(hit, principal, user_id) for hit in found.hits],
        "by_meaning": found.by_meaning,
        "took_ms": round(found.took_ms, 1),
    }


def _hit_json(hit: Hit, principal: str, user_id: str | None) -> dict[str, Any]:
    owner = hit.memory.owner
    is_own = owner.principal == principal and user_id in (None, owner.user_id)
    shown = memory_json(hit.memory)
    if not is_own:
        shown |= dict.fromkeys(("user_id", "session_id", "turn_id", "message_id", "speaker"))
    return {
        **shown,
        "score": round(hit.score, 3),
        "cues": {name: round(value, 2) for name, value in hit.cues.items()},
        "corrects": list(hit.corrects),
        "before": _near_json(hit.before, is_own),
        "after": _near_json(hit.after, is_own),
    }


def _near_json(memory: Memory | None, is_own: bool) -> dict[str, Any] | None:
    if memory is None:
        return None
    speaker = memory.speaker if is_own else None
    return {"memory_id": memory.memory_id, "role": memory.role, "speaker": speaker, "text": memory.text}


def removed_json(memory_id: str, removed: Removed) -> dict[str, Any]:
    counts = {"memories": removed.memories, "versions": removed.versions, "vectors": removed.vectors}
    return {"memory_id": memory_id, "removed": counts}


def indexing_json(found: Indexing) -> dict[str, Any]:
    return {
        "model": found.model,
        "memories": found.memories,
        "embedded": found.embedded,
        "waiting": found.memories - found.embedded,
    }
