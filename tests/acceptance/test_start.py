"""A start that cannot succeed ends at once, with a sentence that says what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import settings_for
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import good
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG_ERROR, START_ERROR = 2, 3


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("agents:\n  assistant:\n    promt: {}\n", 3, "prompt"),
        ("agents:\n  assistant:\n    llm: nope\nllms:\n  a: {type: scripted}\n  b: {type: scripted}\n", 3, "nope"),
        ("server:\n  max_body: many\n", 2, "max_body"),
        ("server: {port: 1\n", 2, ""),
        ("sessions:\n  timeout: soon\n", 2, "duration"),
        ("llms:\n  gpt:\n    type: openai\n    model: x\n    api_key: ${NO_SUCH_VARIABLE}\n", 5, "NO_SUCH_VARIABLE"),
        ("server:\n  host: 0.0.0.0\n", 2, "allow_unauthenticated"),
    ],
)
async def test_a_wrong_configuration_ends_with_2_and_names_file_and_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    server = HectorServer(tmp_path, {})
    server.config_file.write_text(text)
    assert await server.run_to_end() == CONFIG_ERROR
    assert f"config.yaml:{line}" in server.log_text
    assert words in server.log_text
    await server.close()


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    server = HectorServer(tmp_path, {})
    server.config_file.unlink()
    assert await server.run_to_end() == CONFIG_ERROR
    assert "config.yaml" in server.log_text
    await server.close()


async def test_a_port_in_use_is_named(tmp_path: Path, provider: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = HectorServer(tmp_path, settings_for(provider))
        server.port = taken.getsockname()[1]
        assert await server.run_to_end() == START_ERROR
        assert str(server.port) in server.log_text
    await server.close()


@pytest.mark.database_file
async def test_a_folder_that_cannot_be_written_is_named_in_a_line(tmp_path: Path, provider: Upstream) -> None:
    (tmp_path / "data").write_text("a file where a folder is needed")
    server = HectorServer(tmp_path, settings_for(provider))
    assert await server.run_to_end() == START_ERROR
    [line] = [line for line in server.log if "cannot be written" in line]
    assert str(tmp_path / "data") in line
    await server.close()


@pytest.mark.database_file
async def test_a_database_that_is_none_is_named(tmp_path: Path, provider: Upstream) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hector.db").write_bytes(b"this is not a database" * 100)
    server = HectorServer(tmp_path, settings_for(provider))
    assert await server.run_to_end() == START_ERROR
    assert "hector.db" in server.log_text
    await server.close()


async def test_a_server_without_anything_configured_is_ready_and_serves_its_agent(tmp_path: Path) -> None:
    server = HectorServer(tmp_path, {})
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            assert good(await client.get("/ready")) == {"status": "ready"}
            assert [agent["agent"] for agent in good(await client.get("/agents"))["agents"]] == ["assistant"]
    finally:
        await server.close()
