"""The doors of the document stores, through the whole application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config.root import Config
from app.llm.scripted import ScriptedLLM
from app.main import create_app
from app.runtime import Runtime
from tests.fixtures.house import until


async def serving(tmp_path: Path, **sections: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Runtime]]:
    settings = {
        "storage": {"url": f"sqlite:///{tmp_path}/hector.db"},
        "llms": {"demo": {"type": "scripted"}},
        "embedders": {"default": {"type": "none"}},
        **sections,
    }
    runtime = Runtime(Config.model_validate(settings), llms={"demo": ScriptedLLM()})
    await runtime.open()
    transport = httpx.ASGITransport(create_app(runtime))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client, runtime
    await runtime.close()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "a.md").write_text("# Birds\n\n## Parrots\nThe parrot sleeps.\n")
    (folder / "b.md").write_text("The whale swims.")
    (folder / "c.pdf").write_text("no pdf")
    stores = {"birds": {"paths": [folder], "watch": False}, "one": {"paths": [folder / "b.md"], "watch": False}}
    async for client, runtime in serving(tmp_path, document_stores=stores):
        assert runtime.documents is not None
        await until(runtime.documents.is_complete)
        yield client


async def test_stores_and_their_documents_are_listed(door: httpx.AsyncClient) -> None:
    stores = (await door.get("/document_stores")).json()["document_stores"]
    first = (await door.get("/document_stores/birds")).json()
    page = (await door.get("/document_stores/birds/documents?limit=2")).json()
    rest = (await door.get(f"/document_stores/birds/documents?cursor={page['next_cursor']}")).json()
    bad = (await door.get("/document_stores/birds/documents?problems=true")).json()["documents"]

    assert [store["store"] for store in stores] == ["birds", "one"]
    assert stores[0] == first
    assert {name: first[name] for name in ("status", "documents", "chunks", "embedded", "unread", "left")} == {
        "status": "ready",
        "documents": 3,
        "chunks": 2,
        "embedded": None,
        "unread": 1,
        "left": 0,
    }
    assert [document["path"] for document in page["documents"]] == ["papers/a.md", "papers/b.md"]
    assert [document["path"] for document in rest["documents"]] == ["papers/c.pdf"]
    assert rest["next_cursor"] is None
    assert [(document["path"], document["problem"][:9]) for document in bad] == [("papers/c.pdf", "is no PDF")]


async def test_a_search_tells_where_and_why(door: httpx.AsyncClient) -> None:
    found = (await door.post("/document_stores/birds/search", content='{"query": "parrots"}')).json()

    [hit] = found["hits"]
    assert {name: hit[name] for name in ("store", "path", "heading", "position", "excerpt", "text")} == {
        "store": "birds",
        "path": "papers/a.md",
        "heading": "Birds > Parrots",
        "position": {"line": 4},
        "excerpt": "The parrot sleeps.",
        "text": "The parrot sleeps.",
    }
    assert 0 < hit["score"] <= 1
    assert hit["cues"]["coverage"] == 1
    assert (found["by_meaning"], found["complete"]) == (False, True)


async def test_all_stores_are_searched_together(door: httpx.AsyncClient) -> None:
    found = (await door.post("/document_stores/search", json={"query": "whale", "limit": 5})).json()

    places = sorted((hit["store"], hit["path"]) for hit in found["hits"])
    assert places == [("birds", "papers/b.md"), ("one", "b.md")]


async def test_a_reindex_is_begun_and_answered_at_once(door: httpx.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "papers" / "d.md").write_text("The owl hoots.")

    begun = await door.post("/document_stores/birds/reindex")

    assert (begun.status_code, begun.json()["status"]) == (202, "reading")

    async def is_found() -> bool:
        return bool((await door.post("/document_stores/birds/search", json={"query": "owl"})).json()["hits"])

    await until(is_found)


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("GET", "no", None, 404, "store_not_found"),
    ("GET", "no/documents", None, 404, "store_not_found"),
    ("POST", "no/search", {"query": "x"}, 404, "store_not_found"),
    ("POST", "no/reindex", None, 404, "store_not_found"),
    ("POST", "birds/search", None, 422, "invalid_request"),
    ("POST", "birds/search", {"query": ""}, 422, "invalid_request"),
    ("POST", "birds/search", {"query": "x" * 4001}, 422, "invalid_request"),
    ("POST", "birds/search", {"query": "x", "limit": 0}, 422, "invalid_request"),
    ("POST", "birds/search", {"query": "x", "limit": 101}, 422, "invalid_request"),
    ("GET", "birds/search", None, 405, "method_not_allowed"),
]


async def test_what_cannot_be_answered_is_refused(door: httpx.AsyncClient) -> None:
    for method, path, body, status, reason in REFUSED:
        refused = await door.request(method, f"/document_stores/{path}", json=body)

        assert (refused.status_code, refused.json()["error"]["reason"]) == (status, reason), path


async def test_a_server_without_stores_has_none(tmp_path: Path) -> None:
    async for client, _ in serving(tmp_path):
        assert (await client.get("/document_stores")).json() == {"document_stores": []}
        assert (await client.post("/document_stores/search", json={"query": "x"})).json()["hits"] == []
        assert (await client.get("/document_stores/x")).status_code == 404


async def test_a_key_is_asked_for(tmp_path: Path) -> None:
    async for client, _ in serving(tmp_path, auth={"keys": {"alice": "secret"}}):
        assert (await client.get("/document_stores")).status_code == 401
        allowed = await client.get("/document_stores", headers={"Authorization": "Bearer secret"})
        assert allowed.status_code == 200


async def test_what_is_left_of_stores_goes_when_none_is_configured(tmp_path: Path) -> None:
    from app.storage import documents

    (tmp_path / "a.md").write_text("parrot")
    async for _, runtime in serving(tmp_path, document_stores={"a": {"paths": [tmp_path / "a.md"]}}):
        assert runtime.documents is not None
        await until(runtime.documents.is_complete)
    async for _, runtime in serving(tmp_path):

        async def is_empty(runtime: Runtime = runtime) -> bool:
            return await runtime._durable.read(documents.stores) == []

        await until(is_empty)
