"""The check: rounds of clients at work while faults come, and a look at every session of the round afterwards."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.checks import check
from tests.faults.clients import Clients
from tests.faults.talks import Talked
from tests.faults.upstream import BadUpstream
from tests.fixtures.line import Line
from tests.fixtures.server import HectorServer

CLIENTS = 6
START_SECONDS = 60.0
"""A machine that does other things at the same time takes some."""
MOST_FAULTS = 4
"""In one round."""
REMEMBERED_DEAD = 40
"""So many dead sessions are looked at again in every round."""


class Run:
    """One server, one provider, many clients, many faults. `problems` is empty at the end."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        postgres_url: str | None = None,
        only: str = "",
        told: Callable[[str], None] = lambda words: None,
    ) -> None:
        """`only`: faults with this word in their name. `told` is called after each round."""
        self.random = Random(seed)
        self.problems: list[str] = []
        self.faults: Counter[str] = Counter()
        self.rounds = 0
        self.checked = 0
        self.messages = 0
        self.slowest_start = 0.0
        self._folder = folder
        self._only = only
        self._told = told
        self._line = Line(postgres_url) if postgres_url is not None else None
        self._upstream = BadUpstream(Random(seed + 1))
        self._clients = Clients(Random(seed + 2))
        self._dead: list[Talked] = []

    async def go(self, faults: int) -> None:
        """Until so many faults have come, or something is wrong."""
        async with self._upstream:
            with self._line or nullcontext():
                await self._go(faults)

    async def _go(self, faults: int) -> None:
        self.server = HectorServer(self._folder, self._settings(), start_seconds=START_SECONDS, stop_seconds=30)
        await self._start()
        try:
            while sum(self.faults.values()) < faults and not self.problems:
                await self._round(min(self.random.randint(1, MOST_FAULTS), faults - sum(self.faults.values())))
                self._told(self.figures)
        finally:
            await self._clients.close()
            if self.server.is_alive:
                await self.server.kill()

    @property
    def figures(self) -> str:
        return (
            f"{sum(self.faults.values())} faults in {self.rounds} rounds ({dict(self.faults)}), "
            f"{self.checked} sessions, {self.messages} accepted messages, {self._clients.requests} requests, "
            f"slowest start {self.slowest_start:.1f} s, {len(self.problems)} wrong"
        )

    def _settings(self) -> dict[str, Any]:
        model = {"type": "openai", "model": "m", "host": self._upstream.base_url, "api_key": "k", "max_retries": 0}
        settings: dict[str, Any] = {
            "server": {"shutdown_grace": "300ms"},
            "llms": {"default": model | {"first_token_timeout": "1s", "idle_timeout": "1s"}},
            "agents": {"assistant": {"streaming": {"disconnect_grace": "1s"}}},
        }
        if self._line is not None:
            settings["storage"] = {"url": self._line.url}
        return settings

    async def _start(self) -> None:
        begin = time.monotonic()
        await self.server.start()
        self.slowest_start = max(self.slowest_start, time.monotonic() - begin)
        self._clients.base_url = self.server.base_url

    # -- a round --------------------------------------------------------------------------------

    async def _round(self, faults: int) -> None:
        self.rounds += 1
        self._clients.talks = []
        stop = asyncio.Event()
        working = [asyncio.ensure_future(self._work(stop)) for _ in range(CLIENTS)]
        try:
            for _ in range(faults):
                await asyncio.sleep(self.random.random() * 0.5)
                name = self.random.choice(list(self._known_faults()))
                self.faults[name] += 1
                await self._known_faults()[name]()
        finally:
            stop.set()
            self._upstream.is_worse = False
            results = await asyncio.gather(*working, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                self.problems.append(f"a client failed: {type(result).__name__}: {result}")
        await self._look()

    async def _work(self, stop: asyncio.Event) -> None:
        """A client: a session of its own, and now and then one of the others."""
        mine = await self._clients.begin()
        while not stop.is_set():
            talks = [talk for talk in self._clients.talks if talk.takes_messages]
            talk = mine if self.random.random() < 0.7 or not talks else self.random.choice(talks)
            if not mine.takes_messages:
                mine = await self._clients.begin()
            await self._clients.act(talk)

    async def _look(self) -> None:
        talks = self._clients.talks
        for found in await asyncio.gather(*[check(self._clients, talk) for talk in talks], return_exceptions=True):
            if isinstance(found, BaseException):
                self.problems.append(f"a check failed: {type(found).__name__}: {found}")
            else:
                self.problems += found
        self.checked += len(talks)
        self.messages += sum([len(talk.accepted) for talk in talks])
        self._dead += [talk for talk in talks if talk.is_dead]
        for talk in self.random.sample(self._dead, min(REMEMBERED_DEAD, len(self._dead))):
            response = await self._clients.insist("GET", talk.path)
            if response.status_code not in (404, 410):
                self.problems.append(f"{talk.session_id} is alive again: {response.status_code}")
        self.problems += self._clients.problems
        self._clients.problems = []
        self.problems += [line for line in self.server.log if "Traceback" in line]

    # -- faults ---------------------------------------------------------------------------------

    def _known_faults(self) -> dict[str, Callable[[], Awaitable[None]]]:
        faults: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": self._stop,
            "disk full": self._fill_disk,
            "disk full, kill": self._fill_disk_and_kill,
            "disk full, stop": self._fill_disk_and_stop,
            "no files": self._take_files,
            "frozen": self._freeze,
            "clients cut": self._cut_clients,
            "provider worse": self._worsen_provider,
        }
        if self._line is not None:
            faults = {name: fault for name, fault in faults.items() if "disk" not in name}
            faults |= {"database cut": self._cut_database, "database away": self._take_database}
        return {name: fault for name, fault in faults.items() if self._only in name}

    async def _kill(self) -> None:
        await self.server.kill()
        await self._start()

    async def _stop(self) -> None:
        code = await self.server.stop()
        if code != 0:
            self.problems.append(f"exit code {code} after SIGTERM")
        await self._start()

    async def _fill_disk(self) -> None:
        """Sometimes for longer than a turn's end is kept from its readers."""
        self._limit_files()
        await asyncio.sleep(self.random.choice([0.1, 0.5, 2.5]))
        self.server.limit_file_size(None)

    async def _fill_disk_and_kill(self) -> None:
        self._limit_files()
        await asyncio.sleep(self.random.choice([0.1, 0.5, 2.5]))
        await self._kill()

    async def _fill_disk_and_stop(self) -> None:
        self._limit_files()
        await asyncio.sleep(self.random.choice([0.1, 0.5, 2.5]))
        if self.random.random() < 0.5:
            self.server.limit_file_size(None)
        await self._stop()

    def _limit_files(self) -> None:
        """Nothing can be written, or a little."""
        files = (self._folder / "data").glob("hector.db*")
        largest = max([file.stat().st_size for file in files], default=0)
        self.server.limit_file_size(self.random.choice([0, largest, largest + 8192]))

    async def _take_files(self) -> None:
        """Not one file or connection more than are open."""
        pid = self.server.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        open_files = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files + self.random.randrange(3), hard))
        await asyncio.sleep(self.random.choice([0.1, 0.5, 1.5]))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    async def _freeze(self) -> None:
        os.kill(self.server.pid, signal.SIGSTOP)
        await asyncio.sleep(self.random.choice([0.1, 0.5, 1.5]))
        os.kill(self.server.pid, signal.SIGCONT)

    async def _cut_clients(self) -> None:
        for _ in range(5):
            self._clients.cut()
            await asyncio.sleep(0.05)

    async def _worsen_provider(self) -> None:
        self._upstream.is_worse = True
        await asyncio.sleep(0.3)

    async def _cut_database(self) -> None:
        assert self._line is not None
        self._line.cut()

    async def _take_database(self) -> None:
        assert self._line is not None
        self._line.go_down()
        await asyncio.sleep(self.random.choice([0.2, 1.0, 6.0]))
        self._line.is_down = False
