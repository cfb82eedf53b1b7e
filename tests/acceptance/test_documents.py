"""Document stores of a real server: searched, followed, kept across a restart; its child never outlives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.documents.samples import pdf, word
from tests.fixtures.house import until
from tests.fixtures.server import HectorServer


def settings(folder: Path) -> dict[str, Any]:
    return {
        "server": {"port": 0, "shutdown_grace": "200ms"},
        "llms": {"demo": {"type": "scripted"}},
        "embedders": {"default": {"type": "none"}},
        "document_stores": {"papers": {"paths": [str(folder)]}},
    }


def children_of(pid: int) -> list[int]:
    """Those that read documents."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z" and b"app.documents.child" in command:
            found.append(int(path.parent.name))
    return found


async def test_documents_are_found_followed_and_kept(tmp_path: Path) -> None:
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "birds.md").write_text("# Birds\n\nThe parrot sleeps.\n")
    (papers / "whales.pdf").write_bytes(pdf("cover", "The whale swims."))
    (papers / "handbook.docx").write_bytes(word())
    (papers / "broken.pdf").write_bytes(b"no pdf")
    server = HectorServer(tmp_path, settings(papers))
    await server.start()

    async def find(question: str) -> list[tuple[str, dict[str, int]]]:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as http:
            found = (await http.post("/document_stores/papers/search", json={"query": question})).json()
        return [(hit["path"], hit["position"]) for hit in found["hits"]]

    async def store() -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as http:
            return dict((await http.get("/document_stores/papers")).json())

    async def is_ready() -> bool:
        return bool((await store())["status"] == "ready")

    try:
        await until(is_ready, seconds=15)
        assert await find("parrots") == [("papers/birds.md", {"line": 3})]
        assert await find("swimming whales") == [("papers/whales.pdf", {"page": 2})]
        assert (await find("How many days of holiday?"))[0] == ("papers/handbook.docx", {"paragraph": 4})
        assert (await store())["unread"] == 1
        assert server.log_text.count("broken.pdf is no PDF") == 1

        (papers / "birds.md").write_text("# Birds\n\nThe falcon hunts.\n")

        async def is_noticed() -> bool:
            return await find("falcon") == [("papers/birds.md", {"line": 3})] and not await find("parrot")

        await until(is_noticed, seconds=15)
        assert server._process is not None
        pid = server._process.pid
        assert len(children_of(pid)) == 1
        await server.kill()
        await until(lambda: not children_of(1) and not children_of(pid))

        await server.start()
        await until(is_ready, seconds=15)
        assert await find("swimming whales") == [("papers/whales.pdf", {"page": 2})]
        assert server.log_text.count("broken.pdf is no PDF") == 1
    finally:
        await server.close()
