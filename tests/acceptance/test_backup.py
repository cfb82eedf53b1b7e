"""`hector backup` while the server works, `hector restore` somewhere else, and a server on what was restored."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import yaml

from tests.acceptance.conftest import settings_for
from tests.fixtures.server import ROOT, HectorServer
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Reply, Upstream

pytestmark = pytest.mark.database_file


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture
async def server(upstream: Upstream, tmp_path: Path) -> AsyncIterator[HectorServer]:
    server = HectorServer(folder(tmp_path, "first"), settings_for(upstream))
    await server.start()
    yield server
    await server.close()


def folder(above: Path, name: str) -> Path:
    made = above / name
    made.mkdir()
    return made


def client_of(server: HectorServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False)


async def hector(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and everything it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *[str(argument) for argument in arguments]),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_a_backup_taken_under_load_is_a_working_server_elsewhere(
    server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.default = Reply(tokens=20, delay=0.005)
    async with client_of(server) as client:
        before = [await Talk.begin(client, title=f"Talk {number}") for number in range(8)]
        for talk in before:
            await talk.say("before")
        stop = asyncio.Event()

        async def keep_talking(talk: Talk) -> int:
            said = 0
            while not stop.is_set():
                await talk.say(f"during {said}")
                said += 1
            return said

        talking = [asyncio.create_task(keep_talking(talk)) for talk in before]
        await upstream.wait_for(requests=20)
        requests = len(upstream.requests)
        code, said = await hector("backup", tmp_path / "backup.db", "--config", server.config_file)
        assert (code, len(upstream.requests) > requests) == (0, True), said
        stop.set()
        assert min(await asyncio.gather(*talking)) > 0
        originals = [await talk.texts() for talk in before]
    elsewhere = folder(tmp_path, "second")
    (elsewhere / "config.yaml").write_text(yaml.safe_dump(settings_for(upstream)))
    code, said = await hector("restore", tmp_path / "backup.db", "--config", elsewhere / "config.yaml")
    assert code == 0, said
    second = HectorServer(elsewhere, settings_for(upstream))
    await second.start()
    try:
        async with client_of(second) as client:
            for talk, original in zip(before, originals, strict=True):
                restored = Talk(client, talk.session_id)
                texts = await restored.texts()
                assert texts[:2] == original[:2]
                assert [text for text in texts if text not in original and not text.startswith(" t0")] == []
                turns = await restored.messages()
                assert {message["status"] for message in turns} <= {"completed", "interrupted"}
                await restored.say("afterwards")
                assert (await restored.texts())[: len(texts)] == texts
    finally:
        await second.close()


async def test_nothing_is_restored_under_a_server_that_is_at_work(
    server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    async with client_of(server) as client:
        talk = await Talk.begin(client)
        await talk.say("Hello")
        assert (await hector("backup", tmp_path / "backup.db", "--config", server.config_file))[0] == 0
        await talk.say("later")
        code, said = await hector("restore", tmp_path / "backup.db", "--config", server.config_file)
        assert (code, "A server is at work" in said) == (3, True), said
        assert len(await talk.messages()) == 4


async def test_a_restore_takes_the_server_back_and_keeps_what_was_there(
    server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    async with client_of(server) as client:
        talk = await Talk.begin(client)
        await talk.say("Hello")
        await hector("backup", tmp_path / "backup.db", "--config", server.config_file)
        await talk.say("later")
        await server.stop()
        code, said = await hector("restore", tmp_path / "backup.db", "--config", server.config_file)
        assert code == 0, said
        await server.start()
        assert await talk.texts() == ["Hello", " t0 t1 t2"]
        await talk.say("another way")
    assert (server.folder / "data" / "hector.db.before-restore").exists()


@pytest.mark.parametrize("source", ["missing.db", "text.db", "empty.db"])
async def test_what_is_no_backup_is_refused_and_changes_nothing(
    server: HectorServer, upstream: Upstream, tmp_path: Path, source: str
) -> None:
    (tmp_path / "text.db").write_text("This is no database, but long enough to be read as the head of one." * 10)
    (tmp_path / "empty.db").touch()
    await server.stop()
    database = server.folder / "data" / "hector.db"
    before = database.read_bytes()
    code, said = await hector("restore", tmp_path / source, "--config", server.config_file)
    assert (code, "Traceback" in said) == (3, False), said
    assert database.read_bytes() == before


async def test_a_backup_overwrites_nothing(server: HectorServer, upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    code, said = await hector("backup", tmp_path / "notes.txt", "--config", server.config_file)
    assert (code, "exists already" in said) == (3, True), said
    assert (tmp_path / "notes.txt").read_text() == "mine"


async def test_a_backup_of_no_database_or_to_nowhere_is_refused_in_a_sentence(
    server: HectorServer, upstream: Upstream, tmp_path: Path
) -> None:
    code, said = await hector("backup", tmp_path / "no" / "folder" / "b.db", "--config", server.config_file)
    assert (code, "Traceback" in said) == (3, False), said
    (tmp_path / "config.yaml").write_text("agents: {a: {}}")
    code, said = await hector("backup", tmp_path / "b.db", "--config", tmp_path / "config.yaml")
    assert (code, "There is no database" in said) == (3, True), said
