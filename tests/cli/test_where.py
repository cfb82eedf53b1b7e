"""Where commands find their server: by name, by the lock file of the data, or in themselves."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from app.cli.connection import Target, connect
from app.cli.failures import ExitCode, Unreachable
from tests.cli.command import Hector
from tests.cli.conftest import SETTINGS
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEYS: dict[str, Any] = {"auth": {"keys": {"alice": "key-of-alice"}}}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def locked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    """A server that asks for a key; it is found by the lock file in its folder."""
    server = HectorServer(Path(tmp_path_factory.mktemp("locked")), {**SETTINGS, **KEYS})
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
def alone(tmp_path: Path) -> Hector:
    """Commands beside a configuration that no server serves."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    return Hector(tmp_path)


def target(command: Hector) -> Target:
    """What that command would be told."""
    return Target(config=command.folder / "config.yaml")


def temporary_files(folder: Path) -> list[str]:
    return [found.name for found in folder.glob("hector-*")]


async def test_a_live_server_on_the_same_data_is_used_with_its_only_key(locked: HectorServer) -> None:
    result = await Hector(locked.folder)("info", "echo")

    assert result.code == 0
    assert f"served by\t{locked.base_url}" in result.out


async def test_a_server_that_is_named_gets_no_key_of_the_configuration(locked: HectorServer) -> None:
    result = await Hector(locked.folder)("info", "echo", "--server", locked.base_url)

    assert (result.code, result.out) == (5, "")
    assert "--token" in result.err


@pytest.mark.parametrize(("token", "code"), [("key-of-alice", 0), ("key-of-eve", 5)])
async def test_server_and_token_come_from_the_environment_as_well(
    locked: HectorServer, tmp_path: Path, token: str, code: int
) -> None:
    result = await Hector(tmp_path, locked.base_url)("call", "echo", "hi", env={"HECTOR_TOKEN": token})

    assert (result.code, result.out) == (code, "hi\n" if code == 0 else "")


async def test_without_a_server_the_command_does_the_work_and_keeps_the_session(alone: Hector) -> None:
    first = await alone("call", "echo", "one", "--session", "mine")
    found = await alone("info", "echo", "mine", "--json")

    assert (first.code, first.out, first.err) == (0, "one\n", "hector: session mine is new\n")
    assert found.json["message_count"] == 2
    assert temporary_files(alone.folder) == []


async def test_looking_leaves_nothing_behind(alone: Hector) -> None:
    async with connect(target(alone), only_looks=True) as client:
        names = [agent["agent"] for agent in await client.agents()]

    assert names == sorted(SETTINGS["agents"])
    assert [found.name for found in alone.folder.iterdir()] == ["config.yaml"]


async def test_a_lock_file_without_its_lock_is_not_believed(alone: Hector) -> None:
    (alone.folder / "data").mkdir()
    lock = alone.folder / "data" / "hector.db.lock"
    lock.write_text(json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:1"}))

    async with connect(target(alone)) as client:
        assert client.place == "this process"


async def test_a_command_finds_the_server_inside_another_command(alone: Hector) -> None:
    async with connect(target(alone)) as first, connect(target(alone)) as second:
        session = await first.agent("echo").create_session()

        assert second.place.startswith("unix:")
        assert (await second.agent("echo").session(session.session_id).info())["status"] == "active"


@pytest.mark.database_file
async def test_a_command_waits_for_a_server_that_is_starting(tmp_path: Path) -> None:
    server = HectorServer(tmp_path, SETTINGS)
    starting = asyncio.create_task(server.start())
    lock = tmp_path / "data" / "hector.db.lock"
    while not lock.exists():
        await asyncio.sleep(0.01)

    async with connect(Target(config=tmp_path / "config.yaml")) as client:
        place = client.place

    await starting
    await server.close()
    assert place == server.base_url


async def test_a_wrong_configuration_ends_with_2_and_its_line(alone: Hector) -> None:
    (alone.folder / "config.yaml").write_text("agents:\n  assistant: {llm: nobody}\n")

    result = await alone("call", "assistant", "hi")

    assert (result.code, result.out) == (2, "")
    assert "config.yaml:2" in result.err


async def test_data_that_cannot_be_opened_end_with_3(alone: Hector) -> None:
    (alone.folder / "data").mkdir()
    (alone.folder / "data" / "hector.db").write_text("this is no database, " * 100)

    with pytest.raises(Unreachable) as failure:
        async with connect(target(alone)):
            pass

    assert failure.value.code is ExitCode.UNREACHABLE
