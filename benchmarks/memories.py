"""Memories: what a recall costs the store, in a scope of one user among many and in one large scope of all users.

    python -m benchmarks.memories [--database-url URL] [--users 1000] [--each 100] [--large 50000]

The product's own store and recall; only the embedder pretends (a vector and pieces made of a text's hash, at once), so
times are without a model's. A database that has the memories already is measured as it is: fill it first, then measure
when the machine is quiet. Without a URL: a SQLite file in a temporary folder.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import itertools
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.domain.memory import Owner, Scope
from app.memory.longterm import LongTermMemory, Saying
from app.search.embedder import Embedding
from app.storage.engine.database import Database
from benchmarks.rig import median, percentile, report, show

WIDTH, PIECES = 384, 13
SESSION = 20
"""Memories of a session."""
VOCABULARY = 20_000
START_MS = 1_750_000_000_000
QUESTIONS = 300
AGAIN = 150
"""Users whose words all fit in what is kept."""
CONCURRENT = 8


class Pretender:
    """Vectors of 384 numbers and 13 pieces a text, different for each text; the same words give the same pieces."""

    model = "pretender"
    patience = 1.0

    async def embed(self, texts: Sequence[str], *, is_query: bool = False) -> list[Embedding]:
        return [_embedding(text) for text in texts]

    async def close(self) -> None:
        pass


def _embedding(text: str) -> Embedding:
    import numpy  # here, so that the product chooses how many threads it has

    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    numbers = numpy.random.default_rng(seed)
    vector = numbers.standard_normal(WIDTH, dtype=numpy.float32)
    vector /= numpy.linalg.norm(vector)
    pieces = numbers.integers(-127, 128, (PIECES, WIDTH), dtype=numpy.int8)
    return Embedding(vector.astype("<f2").tobytes(), WIDTH.to_bytes(2, "little") + pieces.tobytes())


class Writer:
    """Sentences of 25 words, as rare and as common as in a language; and questions to them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._words = [f"word{number}" for number in range(VOCABULARY)]
        self._weights = list(itertools.accumulate([1 / (rank + 10) for rank in range(VOCABULARY)]))

    def sentence(self) -> str:
        words = self._random.choices(self._words, cum_weights=self._weights, k=14)
        return "I think that the " + " of the ".join([" ".join(words[at : at + 3]) for at in range(0, 14, 3)])

    def question(self) -> str:
        words = self._random.choices(self._words, cum_weights=self._weights, k=5)
        return f"What did I say of the {' and '.join(words)}?"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__ or "")
    made.add_argument("--database-url", help="a database of its own; kept")
    made.add_argument("--users", type=int, default=1000)
    made.add_argument("--each", type=int, default=100, help="memories of each user")
    made.add_argument("--large", type=int, default=50_000, help="memories of the large scope")
    made.add_argument("--out", type=Path, help="folder for the figures as JSON")
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="hector-bench-") as folder:
        url = options.database_url or f"sqlite:///{folder}/memories.db"
        figures = asyncio.run(run(url, options))
    report("memories", figures, options.out)


async def run(url: str, options: argparse.Namespace) -> dict[str, Any]:
    await fill(url, options)
    gc.freeze()  # as the server does (app/runtime.py)
    gc.set_threshold(50_000, 20, 100)
    figures = await of_users(url, options.users) | await of_large(url)
    times = [[name, *found.values()] for name, found in figures.items() if isinstance(found, dict)]
    show([["", "p50 ms", "p99", "max"], *times])
    users, large = round(figures["users_mb"]), round(figures["large_mb"])
    print(f"\nMB of resident memory more: {users} for the users' caches, {large} for the large scope's")
    return figures


async def of_users(url: str, users: int) -> dict[str, Any]:
    """Every user once, so that nothing is cached; then some again; then several at once."""
    database, memory = await opened(url)
    askers = [asker("users", f"user{number}") for number in range(users)]
    random.Random(2).shuffle(askers)
    await asks(memory, [asker("users", "nobody")] * 20, Scope.CONVERSATIONAL)  # what a process does once
    before = resident_mb()
    cold = await asks(memory, askers, Scope.CONVERSATIONAL)
    after = resident_mb()
    again = await asks(memory, askers[-AGAIN:], Scope.CONVERSATIONAL)
    crowd = [asks(memory, askers[-AGAIN + at :: CONCURRENT], Scope.CONVERSATIONAL) for at in range(CONCURRENT)]
    together = [took for found in await asyncio.gather(*crowd) for took in found]
    await closed(database, memory)
    return {
        "one user, first": summary(cold),
        "one user, again": summary(again),
        f"{CONCURRENT} users at once": summary(together),
        "users_mb": round(after - before, 1),
    }


async def of_large(url: str) -> dict[str, Any]:
    """Each question by another user of the scope."""
    database, memory = await opened(url)
    before = resident_mb()
    askers = [asker("large", f"user{number}") for number in range(QUESTIONS)]
    first = await asks(memory, askers[:1], Scope.ALL)
    again = await asks(memory, askers, Scope.ALL)
    after = resident_mb()
    await closed(database, memory)
    database, memory = await opened(url, embeds=False)
    words = await asks(memory, askers, Scope.ALL)
    await closed(database, memory)
    return {
        "large scope, first": summary(first),
        "large scope": summary(again),
        "large scope, words only": summary(words),
        "large_mb": round(after - before, 1),
    }


def asker(agent: str, user: str) -> Owner:
    return Owner(agent, "key", user, f"asking-{user}")


async def opened(url: str, *, embeds: bool = True) -> tuple[Database, LongTermMemory]:
    database = Database(url)
    await database.open()
    numbers = itertools.count()
    stamp = time.time_ns()
    memory = LongTermMemory(
        database,
        new_id=lambda kind: f"{kind}_{stamp}_{next(numbers)}",
        clock_ms=lambda: START_MS,
        embedder=Pretender() if embeds else None,
    )
    return database, memory


async def closed(database: Database, memory: LongTermMemory) -> None:
    await memory.close()
    await database.close()


async def fill(url: str, options: argparse.Namespace) -> None:
    """Store what is not there yet, `SESSION` memories a session."""
    database, memory = await opened(url)
    there = int(await database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM memories").scalar() or 0))
    wanted = options.users * options.each + options.large
    started = time.perf_counter()
    if there < wanted:
        assert not there, f"{there} memories are there, and {wanted} wanted: name an empty database"
        left = sessions(options)
        while chunk := list(itertools.islice(left, 50)):
            await asyncio.gather(*[memory.remember(owner, scope, told) for owner, scope, told in chunk])
        stored = time.perf_counter()
        await memory.embed_pending()
        print(f"stored {wanted / (stored - started):,.0f}/s, embedded {wanted / (time.perf_counter() - stored):,.0f}/s")
    await closed(database, memory)


def sessions(options: argparse.Namespace) -> Iterator[tuple[Owner, Scope, list[Saying]]]:
    writer = Writer(1)
    for agent, scope, users, each in (
        ("users", Scope.CONVERSATIONAL, options.users, options.each),
        ("large", Scope.ALL, options.users, options.large // options.users),
    ):
        for user, at in itertools.product(range(users), range(0, each, SESSION)):
            owner = Owner(agent, "key", f"user{user}", f"{agent}-{user}-{at}")
            told = [
                Saying("user", "user", writer.sentence(), START_MS + 60_000 * n)
                for n in range(at, min(each, at + SESSION))
            ]
            yield owner, scope, told


async def asks(memory: LongTermMemory, askers: Sequence[Owner], scope: Scope) -> list[float]:
    """Milliseconds of a recall for each asker, one after the other."""
    writer, took = Writer(len(askers)), []
    for owner in askers:
        found = await memory.recall(writer.question(), owner=owner, scope=scope)
        took.append(found.took_ms)
    return took


def summary(took: list[float]) -> dict[str, float]:
    return {"p50": round(median(took), 2), "p99": round(percentile(took, 99), 2), "max": round(max(took), 2)}


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
