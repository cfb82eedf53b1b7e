"""Document stores on the wire: bodies of requests, and what is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from typing_extensions import TypedDict

from app.domain.clock import iso
from app.doors.schemas.fields import Count, Cues, Milliseconds, ModelName, Score, StoreName, Time

if TYPE_CHECKING:
    from app.documents.search import Passage
    from app.documents.stores import DocumentStores, StoreState
    from app.storage.documents import StoredFile


class SearchDocuments(BaseModel):
    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"query": "How do I restore a backup?"}]})

    query: StrictStr = Field(min_length=1, max_length=4000)
    limit: StrictInt = Field(default=10, ge=1, le=100)


class ReindexDocuments(BaseModel):
    """Nothing is required."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"again": True}]})

    again: StrictBool = Field(default=False, description="Read every file again, also those that did not change.")


class DocumentStore(TypedDict):
    store: StoreName
    status: Literal["reading", "ready", "failed"]
    documents: Count
    chunks: Count
    embedded: Annotated[int | None, Field(description="Chunks that have a vector; null without an embedder.")]
    model: ModelName | None
    unread: Annotated[int, Field(description="Files that could not be read.")]
    left: Annotated[int, Field(description="Files that are still to be compared.")]
    checked_at: Time | None
    problems: list[str]


class DocumentStoreList(TypedDict):
    document_stores: list[DocumentStore]


class Document(TypedDict):
    path: Annotated[str, Field(examples=["handbook/backup.md"])]
    size: Annotated[int, Field(description="Bytes.")]
    modified_at: Time
    read_at: Time | None
    chunks: Count
    problem: Annotated[str | None, Field(description="Why the file could not be read.")]


class DocumentPage(TypedDict):
    documents: list[Document]
    next_cursor: Annotated[str | None, Field(description="Goes into `cursor` for the next page; null on the last.")]


class Position(TypedDict, total=False):
    """Where a chunk begins, in the unit of its document."""

    line: int
    page: int
    paragraph: int


class DocumentHit(TypedDict):
    store: StoreName
    path: Annotated[str, Field(examples=["handbook/backup.md"])]
    heading: str
    position: Position
    score: Score
    cues: Cues
    excerpt: str
    text: str
    modified_at: Time


class DocumentHits(TypedDict):
    """Best first."""

    hits: list[DocumentHit]
    by_meaning: Annotated[bool, Field(description="Whether vectors took part.")]
    complete: Annotated[bool, Field(description="Whether every file had been read when it was searched.")]
    took_ms: Milliseconds


def store_json(state: StoreState, stores: DocumentStores) -> DocumentStore:
    counts = state.counts
    return {
        "store": state.name,
        "status": state.status,
        "documents": counts.files,
        "chunks": counts.chunks,
        "embedded": counts.embedded if stores.model is not None else None,
        "model": stores.model,
        "unread": counts.problems,
        "left": state.left,
        "checked_at": iso(state.checked_ms),
        "problems": list(state.problems),
    }


def document_json(file: StoredFile, stores: DocumentStores) -> Document:
    return {
        "path": stores.shown(file.store, file.path),
        "size": max(0, file.size),
        "modified_at": iso(file.mtime_ns // 1_000_000),
        "read_at": iso(file.read_ms),
        "chunks": file.chunks,
        "problem": file.problem,
    }


def hit_json(hit: Passage, stores: DocumentStores) -> DocumentHit:
    position: Position = {}
    position[hit.unit] = hit.position
    return {
        "store": hit.store,
        "path": stores.shown(hit.store, hit.path),
        "heading": hit.heading,
        "position": position,
        "score": round(hit.score, 4),
        "cues": hit.cues,
        "excerpt": hit.excerpt,
        "text": hit.text,
        "modified_at": iso(hit.modified_ms),
    }
