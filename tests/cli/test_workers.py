"""The parent of workers: what it starts, when it is ready, what it does when they die, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.cli import workers
from app.cli.listening import CannotListen, bind, reserve
from app.cli.worker import Parent, Worker, own_host
from app.cli.workers import Workers, names_of
from app.config.root import Config
from tests.fixtures.eventually import eventually
from tests.fixtures.server import ROOT, HectorServer

STUB = Path(__file__).with_name("worker_stub.py")


def config_of(*, count: int = 2, **sections: Any) -> Config:
    return Config.model_validate(
        {
            "server": {"port": 0, "grpc_port": None, "workers": count, **sections.pop("server", {})},
            "storage": {"url": "postgresql:///hector"},
            "cluster": {"name": "box", **sections.pop("cluster", {})},
            "llms": {"demo": {"type": "scripted"}},
            "agents": {"assistant": {}},
        }
    )


class Parented:
    """Workers of the stub, under a parent in this process."""

    def __init__(self, folder: Path, words: Mapping[str, Sequence[str]], log: pytest.LogCaptureFixture) -> None:
        self.folder = folder
        self._log = log
        (folder / "words.json").write_text(json.dumps(words))
        self.command = [sys.executable, "-S", str(STUB), str(folder / "words.json")]

    def starts(self, name: str) -> list[list[str]]:
        """Of each process of that worker: its id, the shared port, its own, that of gRPC."""
        file = self.folder / f"{name}.starts"
        return [line.split(" ") for line in file.read_text().splitlines()] if file.exists() else []

    def signals(self, name: str) -> list[str]:
        file = self.folder / f"{name}.signals"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._log.records if record.name == workers.__name__]

    async def until(self, words: str) -> None:
        """Its log has such a line."""

        async def is_said() -> bool:
            return any(words in line for line in self.lines)

        await eventually(is_said)

    @asynccontextmanager
    async def running(self, config: Config) -> AsyncIterator[asyncio.Task[int]]:
        """The parent; it is asked to stop at the end, unless it has ended."""
        task = asyncio.create_task(Workers(config, command=self.command).run())
        try:
            yield task
        finally:
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
                await task


@pytest.fixture
def parented(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)
    return lambda words=None: Parented(tmp_path, words or {}, caplog)


async def test_it_is_ready_when_all_are_and_the_first_starts_alone(parented: Any) -> None:
    house = parented({"box-1": ["exit 1", "serve"]})
    async with house.running(config_of(count=3)) as task:
        await house.until("ready at ")
        [_pid, port, *_] = house.starts("box-1")[1]
        others = [house.starts(f"box-{number}") for number in (2, 3)]
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0
    [line] = [line for line in house.lines if "ready at " in line]
    assert line == f"ready at http://127.0.0.1:{port} with 3 workers: box-1, box-2, box-3"
    assert [len(starts) for starts in others] == [1, 1]
    assert {start[0][1] for start in others} == {port}
    assert house.lines.index("stopped") > house.lines.index(line)


async def test_a_worker_that_dies_is_started_again_while_the_others_go_on(parented: Any) -> None:
    house = parented()
    async with house.running(config_of()):
        await house.until("ready at ")
        pid = int(house.starts("box-2")[0][0])
        os.kill(pid, signal.SIGKILL)
        await house.until(f"box-2 (process {pid}) was killed by SIGKILL; it is started again now")

        async def is_back() -> bool:
            return len(house.starts("box-2")) == 2

        await eventually(is_back)
    assert len(house.starts("box-1")) == 1
    assert house.signals("box-2") == ["SIGTERM"]


async def test_one_that_dies_again_and_again_is_waited_for_longer_each_time(
    parented: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(workers, "LONGEST_PAUSE_SECONDS", 0.03)
    house = parented({"box-1": ["exit 1"] * 5 + ["serve"]})
    async with house.running(config_of()):
        await house.until("ready at ")
    assert [line.rpartition("again ")[2] for line in house.lines if "exit code 1" in line] == [
        *("now", "in 0.01 s", "in 0.02 s", "in 0.03 s", "in 0.03 s"),
    ]


@pytest.mark.parametrize("code", [2, 3])
async def test_a_worker_that_says_it_cannot_start_ends_all(parented: Any, code: int) -> None:
    house = parented({"box-2": [f"exit {code}"]})
    async with house.running(config_of()) as task:
        assert await task == code
    assert house.signals("box-1") == ["SIGTERM"]
    assert not [line for line in house.lines if "ready at" in line]


async def test_once_all_were_ready_such_a_worker_is_tried_again(parented: Any) -> None:
    house = parented({"box-2": ["serve", "exit 3", "serve"]})
    async with house.running(config_of()):
        await house.until("ready at ")
        os.kill(int(house.starts("box-2")[0][0]), signal.SIGKILL)
        await house.until("ended with exit code 3; it is started again in 0.5 s")


async def test_signals_are_passed_on(parented: Any) -> None:
    house = parented({"box-1": ["ignore"]})
    async with house.running(config_of()) as task:
        await house.until("ready at ")
        os.kill(os.getpid(), signal.SIGHUP)

        async def have_heard(count: int) -> bool:
            return [len(house.signals(f"box-{number}")) >= count for number in (1, 2)] == [True, True]

        await eventually(lambda: have_heard(1))
        os.kill(os.getpid(), signal.SIGINT)
        await eventually(lambda: have_heard(2))
        assert not task.done()
        os.kill(os.getpid(), signal.SIGINT)
        assert await task == 0
    assert house.signals("box-1") == ["SIGHUP", "SIGTERM", "SIGINT"]
    assert house.signals("box-2") == ["SIGHUP", "SIGTERM"]


async def test_a_stop_before_all_are_ready_is_told_by_the_exit_code(parented: Any) -> None:
    house = parented({"box-2": ["exit 1"]})
    async with house.running(config_of()) as task:
        await house.until("started again in")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 143


async def test_a_worker_that_ends_badly_is_told_by_the_exit_code(parented: Any) -> None:
    house = parented()
    async with house.running(config_of()) as task:
        await house.until("ready at ")
        os.kill(int(house.starts("box-1")[0][0]), signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(int(house.starts("box-1")[0][0]), signal.SIGKILL)
        assert await task == 128 + signal.SIGKILL


async def test_the_ports_are_shared_kept_and_told(parented: Any) -> None:
    with reserve("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    house = parented()
    async with house.running(config_of(server={"port": port, "grpc_port": 0})):
        await house.until("ready at ")
        told = [house.starts(f"box-{number}")[0][1:] for number in (1, 2)]
        assert [int(each[0]) for each in told] == [port, port]
        assert [int(each[1]) for each in told] == [port + 1, port + 2]
        assert told[0][2] == told[1][2] != ""
        for taken in (port, int(told[0][2])):
            with pytest.raises(CannotListen):
                reserve("127.0.0.1", taken)
    reserve("127.0.0.1", port).close()


async def test_a_taken_port_is_told_and_nothing_is_started(parented: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        house = parented()
        async with house.running(config_of(server={"port": port})) as task:
            assert await task == 3
    sentence = f"cannot listen on 127.0.0.1 port {port}: address already in use; try another with --port"
    assert [line for line in house.lines if line.startswith(sentence)]
    assert house.starts("box-1") == []


async def test_a_taken_port_of_grpc_costs_grpc_only(parented: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        house = parented()
        async with house.running(config_of(server={"grpc_port": taken.getsockname()[1]})):
            await house.until("ready at ")
    assert [line for line in house.lines if line.startswith("no gRPC: cannot listen on 127.0.0.1")]
    assert house.starts("box-1")[0][3] == ""


async def test_a_worker_learns_that_its_parent_has_died() -> None:
    line, theirs = socket.socketpair()
    died = asyncio.Event()
    parent = Parent(theirs.detach())
    parent.watch(died.set)
    parent.tell_ready()
    assert line.recv(1) == b"r"
    assert not died.is_set()
    line.close()
    async with asyncio.timeout(5):
        await died.wait()


async def test_workers_on_sqlite_are_refused_with_the_way_out(tmp_path: Path) -> None:
    settings = {"llms": {"demo": {"type": "scripted"}}, "agents": {"assistant": {}}}
    server = HectorServer(tmp_path, settings, options=["--workers", "2"])
    assert await server.run_to_end() == 2
    assert "server.workers: several workers need PostgreSQL: set storage.url to postgresql://…" in server.log_text


def test_the_parent_loads_nothing_of_what_it_starts() -> None:
    heavy = "fastapi", "uvicorn", "sqlalchemy", "openai", "aiohttp", "app.runtime"
    code = (
        f"import sys, app.cli.start, app.cli.workers; sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_a_worker_knows_what_it_is_told() -> None:
    for worker in (Worker("box-1", 8081, 50051, 7), Worker("box-2", 0, None, 9)):
        assert Worker.parse(str(worker)) == worker


@pytest.mark.parametrize(
    ("host", "address", "listens", "reached"),
    [
        ("127.0.0.1", None, "127.0.0.1", "http://127.0.0.1:8081"),
        ("0.0.0.0", None, "127.0.0.1", "http://127.0.0.1:8081"),
        ("::", None, "::1", "http://[::1]:8081"),
        ("0.0.0.0", "http://10.0.0.5:8080", "0.0.0.0", "http://10.0.0.5:8081"),
    ],
)
def test_a_worker_has_an_address_of_its_own(host: str, address: str | None, listens: str, reached: str) -> None:
    server = {"host": host, "allow_unauthenticated": True}
    config = config_of(server=server, cluster={"address": address})
    assert own_host(config) == listens
    assert Worker("box-1", 8081, None, 7).settle(config, 8081).cluster.address == reached


def test_names_are_those_of_the_configuration_or_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names_of(config_of(count=2)) == ["box-1", "box-2"]
    monkeypatch.setattr(socket, "gethostname", lambda: "a-very-long-name-of-a-machine-in-a-rack.example")
    names = names_of(config_of(count=12, cluster={"name": None}))
    assert names[11] == "of-a-machine-in-a-rack.example-12"[-32:].lstrip("-")
    assert all(len(name) <= 32 and name[0].isalnum() for name in names)


def test_a_shared_port_is_not_shared_with_what_did_not_agree() -> None:
    with reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        with bind("127.0.0.1", port, is_shared=True) as shared:
            shared.listen()
            with pytest.raises(CannotListen):
                bind("127.0.0.1", port)
