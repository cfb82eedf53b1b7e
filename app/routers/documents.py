"""Document stores over HTTP: list, search, compare with the files. Every key may use them: they are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Query
from pydantic import BeforeValidator
from starlette.responses import Response

from app.domain.errors import store_not_found
from app.doors.answers import answer
from app.doors.dependencies import AppRuntime, Cursor, Limit, StorePath
from app.doors.json_route import json_router
from app.doors.schemas.documents import (
    DocumentHits,
    DocumentPage,
    DocumentStore,
    DocumentStoreList,
    ReindexDocuments,
    SearchDocuments,
    document_json,
    hit_json,
    store_json,
)
from app.runtime import Runtime

if TYPE_CHECKING:
    from app.documents.stores import DocumentStores

router = json_router("documents")


@router.get("/document_stores", summary="The document stores of this server", response_model=DocumentStoreList)
async def list_document_stores(runtime: AppRuntime) -> Response:
    stores = runtime.documents
    states = await stores.states() if stores is not None else []
    found: DocumentStoreList = {
        "document_stores": [store_json(state, stores) for state in states] if stores is not None else []
    }
    return answer(found)


@router.get("/document_stores/{store}", summary="A document store", response_model=DocumentStore)
async def get_document_store(runtime: AppRuntime, store: StorePath) -> Response:
    stores = _stores_with(runtime, store)
    return answer(store_json(await stores.state(store), stores))


@router.get(
    "/document_stores/{store}/documents", summary="The documents of a store, by path", response_model=DocumentPage
)
async def list_documents(
    runtime: AppRuntime,
    store: StorePath,
    problems: Annotated[
        bool,
        BeforeValidator(lambda given: given in (True, "true", "1")),
        Query(description="Only files that could not be read."),
    ] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    stores = _stores_with(runtime, store)
    files = await stores.files(store, after=cursor or "", limit=limit + 1, only_problems=problems)
    found: DocumentPage = {
        "documents": [document_json(file, stores) for file in files[:limit]],
        "next_cursor": stores.shown(store, files[limit - 1].path) if len(files) > limit else None,
    }
    return answer(found)


@router.post("/document_stores/search", summary="Search all document stores", response_model=DocumentHits)
async def search_all_documents(runtime: AppRuntime, body: SearchDocuments) -> Response:
    return await _search(runtime, body, [])


@router.post("/document_stores/{store}/search", summary="Search a document store", response_model=DocumentHits)
async def search_documents(runtime: AppRuntime, store: StorePath, body: SearchDocuments) -> Response:
    _stores_with(runtime, store)
    return await _search(runtime, body, [store])


@router.post(
    "/document_stores/{store}/reindex",
    summary="Compare a store with its files now",
    status_code=202,
    response_model=DocumentStore,
)
async def reindex_documents(runtime: AppRuntime, store: StorePath, body: ReindexDocuments) -> Response:
    stores = _stores_with(runtime, store)
    await stores.state(store)
    stores.schedule(store, reread=body.again)
    return answer(store_json(await stores.state(store), stores), 202)


async def _search(runtime: Runtime, body: SearchDocuments, names: list[str]) -> Response:
    stores = runtime.documents
    found: DocumentHits = {"hits": [], "by_meaning": False, "complete": True, "took_ms": 0.0}
    if stores is not None:
        result = await stores.search(body.query, names, limit=body.limit)
        found = {
            "hits": [hit_json(hit, stores) for hit in result.hits],
            "by_meaning": result.by_meaning,
            "complete": stores.is_complete(names),
            "took_ms": round(result.took_ms, 1),
        }
    return answer(found)


def _stores_with(runtime: Runtime, name: str) -> DocumentStores:
    """The document stores. Raises NotFound where there are none at all."""
    if runtime.documents is None:
        raise store_not_found(name)
    return runtime.documents
