"""Commands without a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.cli.command import Hector
from tests.fixtures.server import HectorServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    """A server with one agent, which asks for a key."""
    folder = tmp_path_factory.mktemp("alone")
    settings = {"llms": {"d": {"type": "scripted"}}, "agents": {"only": {}}, "auth": {"keys": {"me": "a-key-of-mine"}}}
    server = HectorServer(folder, settings)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
def hector(alone: HectorServer, tmp_path: Path) -> Hector:
    return Hector(tmp_path, alone.base_url)


@pytest.mark.parametrize(("env", "words"), [({}, "Send a key"), ({"HECTOR_TOKEN": "wrong"}, "This is no valid key")])
async def test_a_missing_key_and_a_wrong_one_are_told_apart_with_the_option(
    hector: Hector, env: dict[str, str], words: str
) -> None:
    result = await hector("list", env=env)

    assert result.code == 5
    assert words in result.err
    assert "--token" in result.err
    assert "HECTOR_TOKEN" in result.err
    assert "Bearer" not in result.err
