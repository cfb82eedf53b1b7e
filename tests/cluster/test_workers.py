"""hector serve --workers on a real database: one service on one port, whatever becomes of a worker."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.fixtures.eventually import eventually
from tests.fixtures.postgres import Databases
from tests.fixtures.server import ROOT, HectorServer
from tests.fixtures.talk import Talk, good

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ("box-1", "box-2")
START_SECONDS = 50
"""One worker after the other, on whatever the machine has left."""


def settings_of(url: str, **sections: Any) -> dict[str, Any]:
    return {
        "server": {"grpc_port": 0, "shutdown_grace": "500ms", "workers": len(NAMES)},
        "storage": {"url": url},
        "cluster": {"name": "box", "lease": "3s"},
        "embedders": {"default": {"type": "none"}},
        "llms": {"echo": {"type": "scripted"}},
        "agents": {"assistant": {"llm": "echo"}},
        **sections,
    }


class Workers(HectorServer):
    """The parent, and what its log says of the workers."""

    def address_of(self, name: str) -> str:
        """Its own, of its last start."""
        addresses: list[str] = re.findall(rf"{name}: ready behind \S+, alone at (\S+)", self.log_text)
        return addresses[-1]

    @property
    def pids(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    async def wait_for_each(self, words: str, *, since: int | None = None) -> list[str]:
        """A line of each worker with these words, since its parent was started."""
        begin = self._begin if since is None else since
        return [await self.wait_for_log(f"{name}: {words}", since=begin) for name in NAMES]

    def client_of(self, name: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.address_of(name), timeout=30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> AsyncIterator[Workers]:
    folder, settings = tmp_path_factory.mktemp("workers"), settings_of(databases.create())
    server = Workers(folder, settings, start_seconds=START_SECONDS, stop_seconds=START_SECONDS)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def test_they_are_one_service(workers: Workers) -> None:
    async with workers.client_of("box-1") as first, workers.client_of("box-2") as second:
        talk = await Talk.begin(first)
        path = f"/agents/assistant/sessions/{talk.session_id}/messages"
        said = good(await second.post(path, json={"message": "Hello"}))
        assert good(await first.get(path))["messages"][-1]["content"] == said["response"]
        for client in (first, second):
            assert good(await client.get("/ready")) == {"status": "ready"}
    async with httpx.AsyncClient(base_url=workers.base_url) as client:
        assert len(good(await client.get(path))["messages"]) == 2
    lines = await workers.wait_for_each("gRPC at ")
    assert len({line.rpartition("gRPC at ")[2] for line in lines}) == 1


async def test_a_worker_is_killed_and_the_service_goes_on(workers: Workers) -> None:
    async with httpx.AsyncClient(base_url=workers.base_url, timeout=30) as client:
        talk = await Talk.begin(client)
        await talk.stream_all("Hello")
    since = len(workers.log)
    os.kill(workers.pids[1], signal.SIGKILL)
    await workers.wait_for_log("was killed by SIGKILL; it is started again now", since=since)

    async def hears() -> bool:
        """On a connection of its own, as a client that comes new."""
        async with httpx.AsyncClient(base_url=workers.base_url, timeout=30) as client:
            return (await client.get("/health")).status_code == 200

    assert all([await hears() for _ in range(10)])
    await workers.wait_for_log("box-2: ready behind", since=since)

    async def answers() -> bool:
        async with workers.client_of("box-2") as client:
            path = f"/agents/assistant/sessions/{talk.session_id}/messages"
            return (await client.post(path, json={"message": "Again"})).status_code == 200

    await eventually(answers, within=20)


async def test_hector_reload_reaches_each(workers: Workers) -> None:
    since = len(workers.log)
    workers.configure(
        settings_of(workers.database_url, agents={"assistant": {"llm": "echo"}, "other": {"llm": "echo"}})
    )
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'clients/python'}"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "reload", "--config", str(workers.config_file)), env=environ, cwd=workers.folder
    )
    assert await process.wait() == 0
    lines = await workers.wait_for_each("agents and models reloaded: assistant, other", since=since)
    assert len(lines) == 2
    assert not [line for line in workers.log[since:] if "needs a restart" in line]


async def test_they_end_with_their_parent_and_the_port_is_free(workers: Workers) -> None:
    await workers.kill()  # returns when nobody writes to the log any more
    assert [line for line in workers.log if "the process that started this worker has died" in line]
    await workers.start()
