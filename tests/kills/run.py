"""The matrix: a server that kills itself at a point, starts again and kills itself again, while clients use tools."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import httpx

from tests.kills.checks import OnCrash, check
from tests.kills.cradle import Cradle, CradledServer
from tests.kills.deeds import CLASSES, FOLDER, POINTS, Plan, Point, effects
from tests.kills.model import Task, TaskModel
from tests.kills.talks import Client

CLIENTS = 4
START_SECONDS = 60.0
LIFE_SECONDS = 60.0
"""So long a server may live that is to kill itself."""
TURNS_PER_SESSION = 3


class Run:
    """One server, or several that share `postgres_url`, and many kills. `problems` is empty at the end."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        on_crash: OnCrash,
        postgres_url: str | None = None,
        replicas: int = 1,
        redis_url: str | None = None,
        points: tuple[Point, ...] = POINTS,
        told: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.problems: list[str] = []
        self.kills: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._random = Random(seed)
        self._folder = folder
        self._on_crash = on_crash
        self._url = postgres_url
        self._replicas = replicas
        self._redis_url = redis_url
        self._points = points
        self._told = told
        self._model = TaskModel(Random(seed + 1))
        self._clients: list[Client] = []
        self._number = 0
        self._over = asyncio.Event()

    async def go(self, kills: int) -> None:
        """So many kills, each point as often as the others; then everything is looked at."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        http = httpx.AsyncClient(timeout=30, limits=limits, trust_env=False)
        async with self._model, http as self._http, AsyncExitStack() as stack:
            self.servers = [self._make_server(stack, number) for number in range(self._replicas)]
            await self._go(kills)

    def _make_server(self, stack: AsyncExitStack, number: int) -> CradledServer:
        folder = self._folder if self._replicas == 1 else self._folder / f"server-{number}"
        folder.mkdir(exist_ok=True)
        cradle = stack.enter_context(Cradle(folder, {FOLDER: str(self._folder)}))
        return CradledServer(cradle, folder, self._settings(number), start_seconds=START_SECONDS)

    async def _go(self, kills: int) -> None:
        working: list[asyncio.Task[None]] = []
        try:
            for server in self.servers[1:]:
                await server.start()
            await self._live(kills, working)
            await self._finish(working)
        finally:
            for task in working:
                task.cancel()
            for server in self.servers:
                if server.is_alive:
                    await server.kill()

    async def _live(self, kills: int, working: list[asyncio.Task[None]]) -> None:
        for number in range(kills):
            point = self._points[number % len(self._points)]
            victim = self._random.choice(self.servers)
            await self._start_others(victim)
            if victim.is_alive:
                await victim.kill()
            Plan(point, self._random.randint(1, 6)).write(victim.folder)
            is_ready = await self._start(victim)
            if not working:
                working += [asyncio.ensure_future(self._work(place)) for place in range(CLIENTS)]
                working.append(asyncio.ensure_future(self._resolve()))
            try:
                async with asyncio.timeout(LIFE_SECONDS):
                    if is_ready:
                        await asyncio.shield(victim.ended())
            except TimeoutError:
                self.problems.append(f"the server never came to the point {point!r}")
                return
            self.kills[point] += 1
            self._told(self.figures)
            failed = [task for task in working if task.done()]
            if failed:
                failed[0].result()

    async def _start_others(self, victim: CradledServer) -> None:
        """Start those that were killed before; they have no plan."""
        for server in self.servers:
            if server is not victim and not server.is_alive:
                await server.start()

    async def _finish(self, working: list[asyncio.Task[None]]) -> None:
        self._over.set()
        for server in self.servers:
            if not server.is_alive:
                await self._start(server)
        results = await asyncio.gather(*working[:-1], return_exceptions=True)
        self.problems += [f"a client failed: {one!r}" for one in results if isinstance(one, BaseException)]
        if working[-1].done():
            self.problems.append(f"who resolves has failed: {working[-1].exception()!r}")
        happened = effects(self._folder)
        for client in self._clients:
            self.problems += await check(client, happened, self._on_crash, self.counts)
        self.problems += self._model.problems
        for server in self.servers:
            self.problems += [line for line in server.log if "Traceback" in line or "Error" in line]

    @property
    def figures(self) -> str:
        turns = sum([len(client.readers) for client in self._clients])
        return (
            f"{sum(self.kills.values())} kills ({dict(self.kills)}), {turns} turns, "
            f"{dict(self.counts)}, {len(self.problems)} wrong"
        )

    def _settings(self, number: int) -> dict[str, Any]:
        model = {"type": "openai", "model": "m", "host": self._model.base_url, "api_key": "k", "max_retries": 0}
        tools = {name: {"python": f"tests.kills.deeds:{name}", "class": kind} for name, kind in CLASSES.items()}
        agent = {
            "tools": list(CLASSES),
            "reasoning": {"on_crash": self._on_crash},
            "streaming": {"disconnect_grace": "never"},
        }
        settings: dict[str, Any] = {
            "llms": {"default": model},
            "agents": {"assistant": agent},
            "tools": tools,
        }
        if self._url is not None:
            settings["storage"] = {"url": self._url}
        if self._replicas > 1:
            settings["cluster"] = {"enabled": True, "name": f"server-{number}", "lease": "3s"}
        if self._redis_url is not None:
            settings["redis"] = {"url": self._redis_url}
        return settings

    def _address(self) -> str:
        """Of a server that is there, if one is."""
        there = [server for server in self.servers if server.is_alive and server.base_url]
        return self._random.choice(there or self.servers).base_url

    async def _start(self, server: CradledServer) -> bool:
        """Whether the server got ready: one that goes on with the turns of the last may come to its point before."""
        begin = time.monotonic()
        try:
            await server.start()
        except AssertionError:
            if await server.ended() != -signal.SIGKILL:
                raise
            return False
        self.counts["slowest start, ms"] = max(
            self.counts["slowest start, ms"], round((time.monotonic() - begin) * 1000)
        )
        return True

    # -- the clients ----------------------------------------------------------------------------

    async def _work(self, place: int) -> None:
        number = 0
        while not self._over.is_set():
            client = Client(self._http, self._address, f"s{place}-{number}")
            self._clients.append(client)
            await client.begin()
            for _ in range(TURNS_PER_SESSION):
                await client.talk(self._task(client.session_id))
                if self._over.is_set():
                    return
            number += 1

    def _task(self, session_id: str) -> Task:
        self._number += 10
        return Task.make(f"{session_id}-{self._number}", self._number, self._random)

    async def _resolve(self) -> None:
        """An operator who looks at the target and answers for every unknown call of an open turn."""
        while True:
            for client in list(self._clients):
                if client.readers and not client.readers[-1].ends and client.readers[-1].turn_id is not None:
                    await self._resolve_session(client)
            await asyncio.sleep(0.1)

    async def _resolve_session(self, client: Client) -> None:
        for act in await client.calls(client.readers[-1].turn_id, state="unknown"):
            number = act["arguments"]["number"]
            has_happened = any(effect.number == number for effect in effects(self._folder))
            body: dict[str, Any] = {"happened": has_happened}
            if not has_happened and self._random.random() < 0.5:
                body = {"again": True}
            response = await client.insist("POST", f"/calls/{act['call_id']}/resolve", body)
            if response.status_code not in (200, 409, 422):
                self.problems.append(f"resolve answers {response.status_code} {response.text[:200]}")
            self.counts["resolved"] += response.status_code == 200
