"""hector search and hector documents: for people, for pipes, and as JSON; with a server and without."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.cli.command import Hector
from tests.cli.terminal import Terminal
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_hits_are_rows_with_tabs_in_a_pipe(hector: Hector) -> None:
    result = await hector("search", "sleeping parrots")

    assert result.code == 0
    [row] = result.out.splitlines()
    assert row.split("\t") == [
        "papers: papers/birds.md:4",
        "0.83",
        "Birds > Parrots",
        "The parrot sleeps �[31mat night.",
    ]


async def test_hits_are_two_lines_each_on_a_terminal(server: HectorServer, tmp_path: Path) -> None:
    async with Terminal(tmp_path, "search", "whale", "--store", "papers", server=server.base_url) as terminal:
        assert await terminal.ended() == 0
        await terminal.shows("papers/whales.txt:1")
        await terminal.shows("Whales swim. The whale sings.")


async def test_a_search_as_json_is_what_the_api_says(hector: Hector) -> None:
    result = await hector("search", "whale", "--limit", "1", "--json")

    [hit] = result.json["hits"]
    assert (hit["path"], hit["position"], result.json["complete"]) == ("papers/whales.txt", {"line": 1}, True)


async def test_nothing_found_is_said_and_is_no_failure(hector: Hector) -> None:
    result = await hector("search", "unicorn")

    assert (result.code, result.out, result.err) == (0, "", "hector: nothing was found\n")


async def test_unknown_stores_and_agents_end_with_4(hector: Hector) -> None:
    store = await hector("search", "x", "--store", "nope")
    agent = await hector("search", "x", "--agent", "nobody")

    assert (store.code, agent.code) == (4, 4)
    assert "no document store 'nope'" in store.err
    assert "no agent 'nobody'" in agent.err


async def test_memories_of_an_agent_are_searched_too(hector: Hector, http: httpx.AsyncClient) -> None:
    for text in ("My parrot is called Rex.", "It rains."):
        await http.post("/agents/social/memories", json={"text": text})

    people = await hector("search", "parrot", "--agent", "social")
    machines = await hector("search", "parrot", "--agent", "social", "--json")
    other = await hector("search", "parrot", "--agent", "echo")

    assert [row.split("\t")[0].split(" ")[0] for row in people.out.splitlines()][:2] == ["papers:", "memory"]
    assert "My parrot is called Rex." in people.out
    assert machines.json["memories"][0]["text"] == "My parrot is called Rex."
    assert (other.code, len(other.out.splitlines())) == (0, 1)
    assert "no long-term memory" in other.err


async def test_stores_and_their_documents_are_listed(hector: Hector) -> None:
    stores = await hector("documents", "list")
    documents = await hector("documents", "list", "papers")
    first = await hector("documents", "list", "papers", "--limit", "1", "--json")

    assert stores.out.split("\t")[:6] == ["papers", "ready", "3", "1", "2", "-"]
    rows = [row.split("\t") for row in documents.out.splitlines()]
    assert [(row[0], row[1]) for row in rows] == [
        ("papers/birds.md", "1"),
        ("papers/broken.pdf", "0"),
        ("papers/whales.txt", "1"),
    ]
    assert rows[1][3].startswith("is no PDF that can be read")
    assert first.json["next_cursor"] == "papers/birds.md"


async def test_a_reindex_waits_until_it_is_done(hector: Hector) -> None:
    before = await hector("documents", "list", "papers", "--json")
    result = await hector("documents", "reindex", "papers", "--again", "--json")
    after = await hector("documents", "list", "papers", "--json")

    [store] = result.json["document_stores"]
    assert (store["status"], store["documents"]) == ("ready", 3)
    pairs = zip(before.json["documents"], after.json["documents"], strict=True)
    assert all(old["read_at"] < new["read_at"] for old, new in pairs)


async def test_an_agent_is_told_about_with_the_stores(hector: Hector) -> None:
    assert "documents\tpapers\n" in (await hector("info", "echo")).out


async def test_without_a_server_the_files_are_read_first(tmp_path: Path) -> None:
    here = Hector(tmp_path)
    (tmp_path / "a.md").write_text("The parrot sleeps.")
    (tmp_path / "config.yaml").write_text(
        "llms: {demo: {type: scripted}}\nembedders: {default: {type: none}}\n"
        "document_stores: {notes: {paths: [a.md, gone]}}\n"
    )

    checked = await here("check")
    found = await here("search", "parrot")

    assert f"document store notes: {tmp_path}/a.md, {tmp_path}/gone\n" in checked.out
    assert f"document store notes: no such file or folder: {tmp_path}/gone\n" in checked.out
    assert found.out.split("\t")[0] == "notes: a.md:1"
