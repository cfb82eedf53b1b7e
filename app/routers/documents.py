"""The document stores: what there is, what is in them, search, compare with the files. Any key may: they are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.domain.clock import iso
from app.domain.errors import store_not_found
from app.routers.dependencies import body_of, limit_of, runtime_of
from app.routers.openapi import describe
from app.routers.schemas import ReadAgain, SearchDocuments
from app.routers.sessions import answer

if TYPE_CHECKING:
    from app.documents.search import Hit
    from app.documents.stores import DocumentStores, StoreState
    from app.storage.documents import StoredFile

router = APIRouter()


def _state_json(state: StoreState, stores: DocumentStores) -> dict[str, Any]:
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


def _file_json(file: StoredFile, stores: DocumentStores) -> dict[str, Any]:
    return {
        "path": stores.shown(file.store, file.path),
        "size": max(0, file.size),
        "modified_at": iso(file.mtime_ns // 1_000_000),
        "read_at": iso(file.read_ms),
        "chunks": file.chunks,
        "problem": file.problem,
    }


def _hit_json(hit: Hit, stores: DocumentStores) -> dict[str, Any]:
    return {
        "store": hit.store,
        "path": stores.shown(hit.store, hit.path),
        "heading": hit.heading,
        "position": {hit.unit: hit.position},
        "score": round(hit.score, 4),
        "cues": hit.cues,
        "excerpt": hit.excerpt,
        "text": hit.text,
        "modified_at": iso(hit.modified_ms),
    }


@router.get("/document_stores", **describe("The document stores of this server", 200))
async def list_stores(request: Request) -> Response:
    stores = runtime_of(request).documents
    found = [_state_json(state, stores) for state in await stores.states()] if stores is not None else []
    return answer({"document_stores": found})


@router.get("/document_stores/{store}", **describe("A document store", 200))
async def get_store(request: Request) -> Response:
    stores, name = _stores_of(request)
    return answer(_state_json(await stores.state(name), stores))


@router.get("/document_stores/{store}/documents", **describe("The documents of a store, by path", 200))
async def list_documents(request: Request) -> Response:
    stores, name = _stores_of(request)
    limit = limit_of(request)
    query = request.query_params
    files = await stores.files(
        name, after=query.get("cursor", ""), limit=limit + 1, only_problems=query.get("problems") in ("true", "1")
    )
    return answer(
        {
            "documents": [_file_json(file, stores) for file in files[:limit]],
            "next_cursor": stores.shown(name, files[limit - 1].path) if len(files) > limit else None,
        }
    )


@router.post("/document_stores/search", **describe("Search all document stores", 200, SearchDocuments))
async def search_all(request: Request) -> Response:
    return await _search(request, [])


@router.post("/document_stores/{store}/search", **describe("Search a document store", 200, SearchDocuments))
async def search_store(request: Request) -> Response:
    _, name = _stores_of(request)
    return await _search(request, [name])


@router.post(
    "/document_stores/{store}/reindex",
    **describe("Compare a store with its files now", 202, ReadAgain, body_required=False),
)
async def reindex(request: Request) -> Response:
    stores, name = _stores_of(request)
    body = await body_of(request, ReadAgain)
    await stores.state(name)
    stores.look(name, anew=body.again)
    return answer(_state_json(await stores.state(name), stores), 202)


async def _search(request: Request, names: list[str]) -> Response:
    body = await body_of(request, SearchDocuments)
    stores = runtime_of(request).documents
    if stores is None:
        return answer({"hits": [], "by_meaning": False, "complete": True, "took_ms": 0.0})
    found = await stores.search(body.query, names, limit=body.limit)
    return answer(
        {
            "hits": [_hit_json(hit, stores) for hit in found.hits],
            "by_meaning": found.by_meaning,
            "complete": stores.is_complete(names),
            "took_ms": round(found.took_ms, 1),
        }
    )


def _stores_of(request: Request) -> tuple[DocumentStores, str]:
    name: str = request.path_params["store"]
    stores = runtime_of(request).documents
    if stores is None:
        raise store_not_found(name)
    return stores, name
