"""Servers that die or are paused in mid-answer, again and again: what readers were shown is what is stored.

python -m tests.cluster.chaos --rounds 200 --what kill        # kill -9 of the owner
python -m tests.cluster.chaos --rounds 200 --what pause       # SIGSTOP past its lease, SIGCONT after the take-over
python -m tests.cluster.chaos --rounds 200 --what kill --redis    # with a tail in Redis
python -m tests.cluster.chaos --rounds 50 --what redis            # Redis killed, emptied or paused, and back

A round: some sessions, a message to each through a random server, a reader on every server; the owner of one of them
is hit at a random moment and started again. Held against the stored messages, the journal and the model's side:

- every reader's text is the stored one, its numbers rise, and its stream ends with the end of the turn, once;
- a reader loses what it was shown of an interrupted answer for no more than 250 ms of text, with Redis for none;
- each accepted message is stored once, and each turn has one end;
- a turn of an agent with `on_crash: resume` completes; one of the others may be interrupted;
- after a take-over no server but the new owner asks the model for that turn, and the paused one's request is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.fixtures.cluster import Cluster
from tests.fixtures.postgres import Databases, PostgresServer, run
from tests.fixtures.redis import RedisServer
from tests.fixtures.upstream import Reply, Upstream

AGENTS = ("assistant", "resuming")
TOKENS = 80
DELAY = 0.01
TAKEN_BACK = int(0.25 / DELAY) * len(" t00")
"""Characters of 250 ms of text."""


def settings(upstream: Upstream) -> dict[str, Any]:
    model = {"type": "openai", "model": "m", "host": upstream.base_url, "api_key": "k", "max_retries": 0}
    return {
        "server": {"shutdown_grace": "5s"},
        "llms": {"upstream": model},
        "agents": {
            "assistant": {"llm": "upstream"},
            "resuming": {"llm": "upstream", "reasoning": {"on_crash": "resume"}},
        },
    }


@dataclass
class Seen:
    """What one reader was shown, over all its connections."""

    text: str = ""
    numbers: list[int] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    cursor: str | None = None
    connections: int = 0
    taken_back: int = 0
    """Characters it was shown and a snapshot lacks."""
    history: list[str] = field(default_factory=list)
    """Every frame, and where it came from, to be printed."""


async def follow(urls: list[str], path: str, seen: Seen, first: int) -> None:
    """Read a session from its beginning to the end of its turn; after a cut, go on at the next server."""
    place = first
    async with httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(10, read=20)) as client:
        while not seen.ends:
            seen.connections += 1
            seen.history.append(f"<server {place % len(urls)} after {seen.cursor}>")
            headers = {"Last-Event-ID": seen.cursor} if seen.cursor else {}
            url = f"{urls[place % len(urls)]}{path}"
            try:
                async with client.stream("GET", url, params={"after": "0"}, headers=headers) as response:
                    if response.status_code == 200:
                        await _read(response, seen)
                    elif response.status_code not in (503, 404):
                        raise AssertionError(f"{response.status_code} {(await response.aread()).decode()}")
            except httpx.HTTPError:
                pass
            place += 1
            if not seen.ends:
                await asyncio.sleep(0.2)


async def _read(response: httpx.Response, seen: Seen) -> None:
    number, cursor = 0, seen.cursor
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            cursor = line[4:]
            number = int(line[4:].partition(":")[0])
        elif line.startswith("data: ") and line != "data: [DONE]":
            frame = orjson.loads(line[6:])
            seen.cursor = cursor  # a connection may be cut between the two lines
            kind = frame.get("type", "text")
            if kind == "reconnect":
                return
            seen.numbers.append(number)
            seen.history.append(f"{number}:{kind}:{frame.get('chunk')!r}")
            if kind == "text":
                seen.text += frame["chunk"]
            elif kind == "snapshot":
                same = _same(seen.text, frame["text"])
                seen.taken_back = max(seen.taken_back, len(seen.text) - same)
                seen.text = frame["text"]
            elif kind == "turn_finished":
                seen.ends.append(f"{frame['status']} {frame['turn_id']}")
                return


def _same(one: str, other: str) -> int:
    """How many characters they begin with are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class Chaos:
    def __init__(
        self, cluster: Cluster, upstream: Upstream, redis: RedisServer | None, *, seed: int, sessions: int
    ) -> None:
        self._cluster = cluster
        self._redis = redis
        self._upstream = upstream
        self._random = random.Random(seed)
        self._sessions = sessions
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def round(self, number: int, what: str) -> None:
        names, urls = list(self._cluster.servers), self._cluster.urls
        for server in self._cluster.servers.values():
            if not server.is_alive:  # so busy a machine that it was taken for dead
                self.counts["false deaths"] += 1
                await server.start()
        self._upstream.default = Reply(tokens=TOKENS, delay=DELAY)
        talks = [(AGENTS[place % 2], f"r{number}-{place}") for place in range(self._sessions)]
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            for agent, session in talks:
                made = await self._post(client, f"/agents/{agent}/sessions", {"session_id": session})
                assert made.status_code in (200, 201), made.text
            body = {"message": "Go.", "background": True}
            sent = [
                self._post(client, f"/agents/{agent}/sessions/{session}/messages", body) for agent, session in talks
            ]
            readers = {talk: [Seen() for _ in names] for talk in talks}
            following = [
                asyncio.create_task(follow(urls, f"/agents/{agent}/sessions/{session}/messages/stream", seen, place))
                for (agent, session), several in readers.items()
                for place, seen in enumerate(several)
            ]
            for answer in await asyncio.gather(*sent):
                assert answer.status_code in (200, 202), answer.text
            await asyncio.sleep(self._random.uniform(0, 1.2))
            if what == "redis":
                await self._hit_redis()
            victim = self._owner(self._random.choice(talks)[1]) or self._random.choice(names)
            began = time.monotonic()
            if what != "redis":
                await self._hit(victim, what)
            done, late = await asyncio.wait(following, timeout=40)
            self.counts["seconds"] += int(time.monotonic() - began)
            for task in late:
                task.cancel()
            for task in done:
                if task.exception() is not None:
                    self.wrong.append(f"round {number}: {task.exception()!r}")
            if what != "redis":
                await self._recover(victim, what)
            for talk, several in readers.items():
                await self._check(client, talk, several)

    async def _post(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> httpx.Response:
        for _ in range(100):
            url = self._random.choice(self._cluster.urls)
            try:
                answer = await client.post(f"{url}{path}", json=body)
            except httpx.ConnectError:
                self.counts["refused connections"] += 1
            else:
                if answer.status_code != 503:
                    return answer
            await asyncio.sleep(0.1)
        raise AssertionError(f"nobody takes {path}")

    def _owner(self, session: str) -> str | None:
        rows = run(self._cluster.database_url, f"SELECT owner FROM sessions WHERE session_id = '{session}'")
        return rows[0][0].rpartition("-")[0] if rows and rows[0][0] else None

    async def _hit(self, victim: str, what: str) -> None:
        self.counts[what] += 1
        if what == "kill":
            await self._cluster.kill(victim)
        elif what == "stop":
            self._cluster[victim].ask_to_stop()
        else:
            self._cluster.stop(victim)

    async def _hit_redis(self) -> None:
        redis = self._redis
        assert redis is not None
        how = self._random.choice(["killed", "emptied", "paused"])
        self.counts[f"Redis {how}"] += 1
        if how == "emptied":
            redis.empty()
            return
        redis.kill() if how == "killed" else redis.pause()
        await asyncio.sleep(self._random.uniform(0, 1.5))
        await asyncio.to_thread(redis.start if how == "killed" else redis.go_on)

    async def _recover(self, victim: str, what: str) -> None:
        server = self._cluster[victim]
        if what == "pause":
            while run(self._cluster.database_url, f"SELECT 1 FROM replicas WHERE name = '{victim}'"):
                await asyncio.sleep(0.2)
            self._cluster.cont(victim)
            try:
                code = await asyncio.wait_for(server.ended(), 20)
            except TimeoutError:
                raise AssertionError(f"{victim} does not end:\n{server.log_text}") from None
            self.counts[f"exit code {code}"] += 1
        elif what == "stop":
            code = await asyncio.wait_for(server.ended(), 20)
        await server.start()

    async def _check(self, client: httpx.AsyncClient, talk: tuple[str, str], several: list[Seen]) -> None:
        agent, session = talk
        for server in self._cluster.servers.values():
            page = await client.get(f"{server.base_url}/agents/{agent}/sessions/{session}/messages")
            stored = page.json()["messages"] if page.status_code == 200 else []
            questions = [message for message in stored if message["role"] == "user"]
            if [message["content"] for message in questions] != ["Go."]:
                self.wrong.append(f"{session} at {server.base_url}: {page.status_code} {page.text[:200]}")
                return
        answers = "".join([message["content"] for message in stored if message["role"] == "assistant"])
        ends = {end for seen in several for end in seen.ends}
        self.counts[" or ".join(sorted({end.partition(" ")[0] for end in ends}))] += 1
        if len(ends) != 1:
            self.wrong.append(f"{session}: {len(ends)} ends {ends}")
        if agent == "resuming" and any(not end.startswith("completed") for end in ends):
            self.wrong.append(f"{session}: {ends} although it resumes")
        if any(end.startswith("completed") for end in ends) and answers != expected():
            self.wrong.append(f"{session}: completed with another text: {answers[:200]!r}")
        for place, seen in enumerate(several):
            self._count_taken_back(agent, session, seen)
            if seen.text != answers:
                same = _same(seen.text, answers)
                self.wrong.append(
                    f"{session}, reader {place} ({seen.ends}): {seen.text[same : same + 60]!r} but stored is"
                    f" {answers[same : same + 60]!r}; it was shown {' '.join(seen.history)}"
                )
            if seen.numbers != sorted(set(seen.numbers)):
                self.wrong.append(f"{session}, reader {place}: numbers do not rise")
            self.counts["connections"] += seen.connections

    def _count_taken_back(self, agent: str, session: str, seen: Seen) -> None:
        if agent == "resuming" or not seen.taken_back:
            return  # one that resumes says the whole step anew
        self.counts["readers of whom something was taken back"] += 1
        self.counts["most characters taken back"] = max(self.counts["most characters taken back"], seen.taken_back)
        if self._redis is not None or seen.taken_back > TAKEN_BACK:
            self.wrong.append(f"{session}: {seen.taken_back} characters were taken back: {' '.join(seen.history)}")


def expected() -> str:
    return "".join([f" t{number}" for number in range(TOKENS)])


async def main(rounds: int, what: str, seed: int, sessions: int, lease: str, *, has_redis: bool) -> int:
    server = PostgresServer()
    redis = RedisServer() if has_redis else None
    if redis is not None:
        redis.start()
    databases = Databases(server.url("postgres"))
    try:
        async with Upstream() as upstream:
            with tempfile.TemporaryDirectory(prefix="hector-chaos-") as folder:
                url = databases.create()
                redis_url = redis.url if redis is not None else None
                async with Cluster(Path(folder), settings(upstream), url, lease=lease, redis_url=redis_url) as cluster:
                    chaos = Chaos(cluster, upstream, redis, seed=seed, sessions=sessions)
                    begun = time.monotonic()
                    for number in range(rounds):
                        await chaos.round(number, what)
                        if number % 10 == 9 or chaos.wrong:
                            seconds = time.monotonic() - begun
                            print(f"{number + 1} rounds, {seconds:.0f} s: {dict(chaos.counts)}", flush=True)
                        for line in chaos.wrong:
                            print("WRONG", line, flush=True)
                        if len(chaos.wrong) > 20:
                            break
                        chaos.counts["wrong"] += len(chaos.wrong)
                        chaos.wrong.clear()
                    for name, one in cluster.servers.items():
                        bad = [line for line in one.log if "ERROR" in line or "Traceback" in line]
                        print(name, "errors in its log:", len(bad), *bad[:3], sep="\n  ")
                    print(dict(chaos.counts))
                    return chaos.counts["wrong"]
    finally:
        databases.close()
        server.close()
        if redis is not None:
            redis.close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--what", choices=["kill", "pause", "stop", "redis"], default="kill")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--sessions", type=int, default=6)
    options.add_argument("--lease", default="3s")
    options.add_argument("--redis", action="store_true")
    given = options.parse_args()
    has_redis = given.redis or given.what == "redis"
    asked = main(given.rounds, given.what, given.seed, given.sessions, given.lease, has_redis=has_redis)
    sys.exit(asyncio.run(asked) > 0)
