"""Three servers in upheaval, and people who notice nothing.

python -m tests.cluster.upheaval --what rolling --streams 300 [--redis]    # each server restarted, one after the other
python -m tests.cluster.upheaval --what postgres --turns 2000 [--redis]    # Postgres restarted every 5 to 40 s

Rolling: every stream ends `completed`, with the whole text. Postgres: each accepted message is stored once, each turn
has one end that the database and its events agree on, and no server ends.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.chaos import Seen, follow
from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import Databases, PostgresServer, run
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Reply, Upstream

TOKENS, DELAY = 60, 0.2
"""Of an answer that is to be long: 12 s."""
WORKERS = 40
ENDS_SECONDS = 120.0


def settings(upstream: Upstream, grace: str) -> dict[str, Any]:
    model = {"type": "openai", "model": "m", "host": upstream.base_url, "api_key": "k", "max_retries": 0}
    return {
        "server": {"shutdown_grace": grace},
        "llms": {"upstream": model},
        "agents": {"assistant": {"llm": "upstream", "streaming": {"disconnect_grace": "never"}}},
    }


class Upheaval:
    def __init__(self, cluster: Cluster, upstream: Upstream, seed: int, *, tokens: int, delay: float) -> None:
        """`tokens`, `delay`: of each answer, and seconds between two of them."""
        self._tokens = tokens
        self._seconds = tokens * delay
        self._cluster = cluster
        self._random = random.Random(seed)
        upstream.default = Reply(tokens=tokens, delay=delay)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    # -- rolling --------------------------------------------------------------------------------

    async def rolling(self, streams: int) -> None:
        """So many streams at a time, each followed by another, until all servers were restarted."""
        over = asyncio.Event()
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=_UNLIMITED) as client:
            talking = [asyncio.create_task(self._talk(client, place, over)) for place in range(streams)]
            await asyncio.sleep(self._seconds / 2)  # in the middle of the first answers
            for name in self._cluster.servers:
                began = time.monotonic()
                await self._cluster.restart(name)
                print(f"{name} restarted in {time.monotonic() - began:.1f} s: {dict(self.counts)}", flush=True)
            over.set()
            for result in await asyncio.gather(*talking, return_exceptions=True):
                if isinstance(result, BaseException):
                    self.wrong.append(repr(result))

    async def _talk(self, client: httpx.AsyncClient, place: int, over: asyncio.Event) -> None:
        await asyncio.sleep(self._random.uniform(0, self._seconds / 2))
        number = 0
        while not over.is_set():
            session = f"s{place}-{number}"
            await self._insist(client, "/agents/assistant/sessions", {"session_id": session})
            path = f"/agents/assistant/sessions/{session}/messages"
            seen = Seen()
            reading = asyncio.create_task(follow([self._cluster.base_url], f"{path}/stream", seen, 0))
            await self._insist(client, path, {"message": "Go.", "background": True}, key=session)
            await reading
            self.counts["turns"] += 1
            self.counts["connections"] += seen.connections
            whole = "".join([f" t{token}" for token in range(self._tokens)])
            if seen.text != whole or [end.partition(" ")[0] for end in seen.ends] != ["completed"]:
                self.wrong.append(f"{session}: {seen.ends} {seen.text!r}: {' '.join(seen.history)}")
            number += 1

    # -- postgres -------------------------------------------------------------------------------

    async def postgres(self, turns: int, server: PostgresServer, pauses: tuple[float, float]) -> None:
        left = list(range(turns))
        over = asyncio.Event()
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=_UNLIMITED) as client:
            restarting = asyncio.create_task(self._restart(server, pauses, over))
            workers = [asyncio.create_task(self._ask(client, left, place)) for place in range(WORKERS)]
            for result in await asyncio.gather(*workers, return_exceptions=True):
                if isinstance(result, BaseException):
                    self.wrong.append(repr(result))
            over.set()
            await restarting
            await self._await_ends()
        self._check_rows(turns)
        for name, one in self._cluster.servers.items():
            if not one.is_alive:
                self.wrong.append(f"{name} has ended: {one.log_text[-2000:]}")

    async def _restart(self, server: PostgresServer, pauses: tuple[float, float], over: asyncio.Event) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._random.uniform(*pauses))
                return
            how = self._random.choice(["stop", "kill"])
            await asyncio.to_thread(getattr(server, how))
            await asyncio.sleep(self._random.uniform(0, 2))
            await asyncio.to_thread(server.start)
            self.counts[f"Postgres, {how}"] += 1
            print(dict(self.counts), flush=True)

    async def _ask(self, client: httpx.AsyncClient, left: list[int], place: int) -> None:
        session = f"s{place}"
        await self._insist(client, "/agents/assistant/sessions", {"session_id": session})
        while left:
            number = left.pop()
            path = f"/agents/assistant/sessions/{session}/messages"
            sent = await self._insist(client, path, {"message": f"M{number}", "background": True}, key=f"k{number}")
            assert sent.status_code == 202, sent.text
            await self._insist_on_end(client, session, sent.json()["turn_id"])
            self.counts["turns"] += 1

    async def _insist_on_end(self, client: httpx.AsyncClient, session: str, turn_id: str) -> None:
        give_up = time.monotonic() + ENDS_SECONDS
        while time.monotonic() < give_up:
            with suppress(httpx.TransportError):
                url = self._random.choice(self._cluster.urls)
                answer = await client.get(f"{url}/agents/assistant/sessions/{session}/turns/{turn_id}")
                if answer.status_code == 200 and answer.json()["status"] not in ("queued", "running", "waiting"):
                    self.counts[answer.json()["status"]] += 1
                    return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{turn_id} of {session} has no end")

    async def _await_ends(self) -> None:
        give_up = time.monotonic() + ENDS_SECONDS
        query = "SELECT count(*) FROM turns WHERE finished_ms IS NULL"
        while run(self._cluster.database_url, query) != [(0,)] and time.monotonic() < give_up:
            await asyncio.sleep(0.2)

    def _check_rows(self, turns: int) -> None:
        url = self._cluster.database_url
        asked = "SELECT content, count(*) FROM messages WHERE role = 'user' GROUP BY content"
        stored = dict(run(url, asked))
        expected = {f"M{number}": 1 for number in range(turns)}
        if stored != expected:
            odd = {key: stored.get(key) for key in expected.keys() | stored.keys() if stored.get(key) != 1}
            self.wrong.append(f"messages that are not stored once: {odd}")
        ends = "SELECT turn_id, count(*) FROM events WHERE kind = 'turn_finished' GROUP BY turn_id HAVING count(*) <> 1"
        if found := run(url, ends):
            self.wrong.append(f"turns with several ends: {found}")
        without = (
            "SELECT turn_id, state FROM turns WHERE finished_ms IS NULL OR NOT EXISTS"
            " (SELECT 1 FROM events WHERE events.turn_id = turns.turn_id AND kind = 'turn_finished')"
        )
        if found := run(url, without):
            self.wrong.append(f"turns without an end: {found}")

    async def _insist(
        self, client: httpx.AsyncClient, path: str, body: dict[str, Any], key: str | None = None
    ) -> httpx.Response:
        """The first answer that is not a refusal for the moment; with the same key each time."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        give_up = time.monotonic() + ENDS_SECONDS
        while time.monotonic() < give_up:
            with suppress(httpx.TransportError):
                url = self._random.choice([self._cluster.base_url, *self._cluster.urls])
                answer = await client.post(f"{url}{path}", json=body, headers=headers)
                if answer.status_code < 500 and answer.status_code != 429:
                    return answer
                self.counts[f"answers {answer.status_code}"] += 1
            await asyncio.sleep(0.1)
        raise AssertionError(f"nobody takes {path}")


_UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=0)


async def upheave(
    what: str,
    *,
    seed: int = 1,
    streams: int = 300,
    turns: int = 2000,
    pauses: tuple[float, float] = (5.0, 40.0),
    redis: bool = False,
    tokens: int = TOKENS,
    delay: float = DELAY,
) -> list[str]:
    """What was wrong."""
    server, tail = PostgresServer(), RedisServer() if redis else None
    if tail is not None:
        tail.start()
    databases = Databases(server.url("postgres"))
    try:
        async with Upstream() as upstream:
            with tempfile.TemporaryDirectory(prefix="hector-upheaval-") as folder:
                given = settings(upstream, "30s" if what == "rolling" else "2s")
                redis_url = tail.url if tail is not None else None
                url = databases.create()
                async with Cluster(Path(folder), given, url, lease="10s", redis_url=redis_url) as cluster:
                    upheaval = Upheaval(cluster, upstream, seed, tokens=tokens, delay=delay)
                    if what == "rolling":
                        await upheaval.rolling(streams)
                    else:
                        await upheaval.postgres(turns, server, pauses)
                    print(dict(upheaval.counts), flush=True)
                    return upheaval.wrong
    finally:
        databases.close()
        server.close()
        if tail is not None:
            tail.close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--what", choices=["rolling", "postgres"], default="rolling")
    options.add_argument("--streams", type=int, default=300)
    options.add_argument("--turns", type=int, default=2000)
    options.add_argument("--pauses", type=float, nargs=2, default=(5.0, 40.0), metavar="SECONDS")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--redis", action="store_true")
    told = options.parse_args()
    pauses = (told.pauses[0], told.pauses[1])
    is_rolling = told.what == "rolling"
    found = asyncio.run(
        upheave(
            told.what,
            seed=told.seed,
            streams=told.streams,
            turns=told.turns,
            pauses=(told.pauses[0], told.pauses[1]),
            redis=told.redis,
            tokens=TOKENS if is_rolling else 20,
            delay=DELAY if is_rolling else 0.02,
        )
    )
    for line in found[:10]:
        print("WRONG", line[:3000])
    sys.exit(len(found) > 0)
