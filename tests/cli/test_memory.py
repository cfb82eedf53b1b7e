"""hector memory: for people, for pipes, and as JSON; the rest is the API's."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import httpx
import pytest
import yaml

from app.cli import memory as memory_command
from app.domain.memory import Owner, Scope
from app.memory.longterm import LongTermMemory, Saying
from app.runtime import new_id, now_ms
from app.storage.engine.database import Database
from tests.cli.command import Hector
from tests.cli.terminal import Terminal
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def note(http: httpx.AsyncClient, text: str, user: str) -> str:
    """Its id."""
    added = await http.post("/agents/storing/memories", json={"text": text, "user_id": user})
    return str(added.json()["memory_id"])


async def test_a_note_is_added_found_edited_pinned_and_deleted(hector: Hector) -> None:
    added = await hector("memory", "add", "storing", "--user", "ann", "--json", stdin="Ann drinks jasmine tea\n")
    memory_id = added.json["memory_id"]
    found = await hector("memory", "search", "storing", "What tea does Ann drink?", "--user", "ann")
    assert found.out.splitlines()[0].split("\t")[:2] == [memory_id, "strong"]
    assert found.out.splitlines()[0].split("\t")[::4] == [memory_id, "Ann drinks jasmine tea"]
    await hector("memory", "edit", "storing", memory_id, "Ann drinks green tea")
    pinned = await hector("memory", "pin", "storing", memory_id)
    assert "kind\tnote, pinned\n" in pinned.out
    shown = await hector("memory", "show", "storing", memory_id)
    assert "text\tAnn drinks green tea\nversion 1\tAnn drinks jasmine tea\n" in shown.out
    assert "session" not in shown.out
    deleted = await hector("memory", "delete", "storing", memory_id)
    assert deleted.code == 0
    again = await hector("memory", "delete", "storing", memory_id)
    assert (again.code, again.out) == (4, "")
    assert memory_id in again.err


async def test_lists_say_when_there_is_more(hector: Hector, http: httpx.AsyncClient) -> None:
    for number in range(3):
        await note(http, f"Fact\nnumber {number}", "ben")
    people = await hector("memory", "list", "storing", "--user", "ben", "--limit", "2", "--kind", "note")
    rows = [row.split("\t")[1:] for row in people.out.splitlines()]
    assert rows == [["note", "ben", "just now", f"Fact number {number}"] for number in (2, 1)]
    assert "more than 2" in people.err


async def test_an_export_goes_through_a_pipe_into_another_user(
    hector: Hector, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    await note(http, "Cleo lives in Oslo", "cleo")
    written = await hector("memory", "export", "storing", "--user", "cleo", "-o", "cleo.jsonl")
    assert "1 memories are in cleo.jsonl" in written.err
    piped = await hector("memory", "export", "storing", "--user", "cleo")
    assert piped.out == (tmp_path / "cleo.jsonl").read_text()
    assert json.loads(piped.out)["text"] == "Cleo lives in Oslo"
    taken = await hector("memory", "import", "storing", "--user", "dora", stdin=piped.out)
    assert taken.out.startswith("1 imported")
    assert (await hector("memory", "import", "storing", "nowhere.jsonl")).code == 2


async def test_memories_are_embedded_anew_also_without_a_server(tmp_path: Path) -> None:
    agents = {"storing": {"llm": "echo", "memory": {"longterm": {"storage_scope": "conversational"}}}}
    settings = {"llms": {"echo": {"type": "scripted"}}, "agents": agents}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    database = Database(f"sqlite:///{tmp_path}/data/hector.db")
    await database.open()
    memory = LongTermMemory(database, new_id=new_id, clock_ms=now_ms)
    facts = [Saying("user", "ann", f"Fact {number}", 1000, kind="note") for number in range(5)]
    await memory.remember(Owner("storing", "anonymous", "ann", "s1"), Scope.CONVERSATIONAL, facts)
    await database.close()
    found = await Hector(tmp_path)("memory", "reindex", "storing", "--again", "--json")
    assert (found.code, found.json["memories"], found.json["embedded"], found.json["waiting"]) == (0, 5, 5, 0)


async def test_without_an_embedder_there_is_nothing_to_embed(hector: Hector) -> None:
    refused = await hector("memory", "reindex", "storing")
    assert refused.code == 5
    assert "embedders.default" in refused.err


async def test_forgetting_asks_for_a_yes_and_prints_the_receipt(hector: Hector, http: httpx.AsyncClient) -> None:
    await note(http, "Fay is a spy", "fay")
    refused = await hector("memory", "forget", "storing", "--user", "fay")
    assert (refused.code, refused.out) == (2, "")
    assert "--yes" in refused.err
    assert (await hector("memory", "forget", "storing", "--yes")).code == 2
    done = await hector("memory", "forget", "storing", "--user", "fay", "--yes")
    assert done.code == 0
    assert done.out.splitlines()[0] == "found\t1 memories"
    assert "memories\t1" in done.out
    assert done.err == ""
    gone = await hector("memory", "forget", "storing", "--user", "fäy", "--yes")
    assert (gone.code, gone.out) == (0, "found\tnothing\nremoved\tnothing\nfound afterwards\t0\n")
    assert "storing knows no user 'fäy'" in gone.err
    again = await hector("memory", "forget", "storing", "--phrase", "Fay is a spy", "-y", "--json")
    assert (again.json["found_afterwards"], again.json["removed"]["memories"]) == (0, 0)


async def test_a_user_may_have_any_name(hector: Hector, http: httpx.AsyncClient) -> None:
    for name in ("Łukasz", "Ju\u0308rgen"):
        assert (await hector("memory", "add", "storing", "I like tea", "--user", name)).code == 0
        normal = unicodedata.normalize("NFC", name)
        found = (await http.get("/agents/storing/memories", params={"user_id": normal})).json()["memories"]
        assert [memory["user_id"] for memory in found] == [normal]


async def test_on_a_terminal_the_question_can_be_denied(
    server: HectorServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    await note(http, "Gus is a spy", "gus")
    async with Terminal(tmp_path, "memory", "forget", "storing", "--user", "gus", server=server.base_url) as terminal:
        await terminal.shows("Permanently forget user 'gus'? [y/N]")
        terminal.type("n\r")
        assert await terminal.ended() == 130
    found = await http.get("/agents/storing/memories?user_id=gus")
    assert len(found.json()["memories"]) == 1


async def test_an_agent_that_remembers_nothing_says_so(hector: Hector) -> None:
    refused = await hector("memory", "list", "echo")
    assert (refused.code, refused.out) == (5, "")
    assert "agents.echo.memory.longterm" in refused.err


@pytest.mark.parametrize("number", [0, 1, 3, 4, 7])
async def test_a_long_import_is_sent_in_parts_that_keep_the_numbers_of_lines(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_command, "PART_LINES", 3)
    lines = [b'{"text": "%d"}' % place for place in range(number)]

    parts = list(memory_command._parts(b"\n".join(lines) + b"\n"))

    assert len(parts) == max(1, -(-number // 3))
    found = [(place, line) for part in parts for place, line in enumerate(part.splitlines()) if line]
    assert found == list(enumerate(lines))


async def test_the_parts_of_an_import_have_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_command, "PART_BYTES", 10)

    assert list(memory_command._parts(b"a" * 6 + b"\n" + b"b" * 6)) == [b"a" * 6, b"\n" + b"b" * 6]
