"""Stops: how soon the model is let go after a terminate, and that no stop leaves a call behind.

python -m benchmarks.stops --bench DIR [--terminates 100] [--cancels 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from typing import Any

import aiohttp

from benchmarks import rig
from benchmarks.rig import Rig, percentile, show

ENDLESS = "mock-n100000-d10-ttft50"
AT_ONCE = 50
SETTLE_SECONDS = 2


def parser() -> argparse.ArgumentParser:
    made = rig.parser(__doc__ or "")
    made.add_argument("--terminates", type=int, default=100, help="at most 200: so many aborts the mock remembers")
    made.add_argument("--cancels", type=int, default=1000, help="random stops of five kinds")
    made.add_argument("--seed", type=int, default=1)
    return made


def main(argv: list[str] | None = None) -> None:
    options = parser().parse_args(argv)
    with Rig(options.bench, database_url=options.database_url) as bench:
        hector = bench.serve({"a": ENDLESS})
        figures = asyncio.run(run(bench, f"http://127.0.0.1:{hector.port}/agents/a/sessions", options))
    rig.report("stops", figures, options.out)


async def run(bench: Rig, url: str, options: argparse.Namespace) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        figures = await terminates(bench, client, url, options.terminates)
        figures |= await cancels(bench, client, url, options)
    return figures


async def terminates(bench: Rig, client: aiohttp.ClientSession, url: str, count: int) -> dict[str, Any]:
    ordered: dict[str, float] = {}
    answered, ended = [], []
    for n in range(count):
        name = f"end-{n}-{random.getrandbits(32):08x}"
        async with client.post(url, json={"session_id": name}) as response:
            assert response.status == 201
        stream = client.post(f"{url}/{name}/messages/stream", json={"message": name})
        async with stream as response:
            await until_text(response)
            ordered[name], began = time.time(), time.perf_counter()
            async with client.delete(f"{url}/{name}") as receipt:
                assert receipt.status == 200
            answered.append((time.perf_counter() - began) * 1000)
            rest = await response.read()
            ended.append((time.perf_counter() - began) * 1000)
            assert rest.endswith(b"data: [DONE]\n\n"), rest[-80:]
    await asyncio.sleep(SETTLE_SECONDS)
    stats = bench.stats()
    noticed = {abort["tag"]: abort["noticed_at"] for abort in stats["aborts"]}
    closed = [(noticed[name] - at) * 1000 for name, at in ordered.items() if name in noticed]
    rows: list[list[object]] = [["terminate, ms", "p50", "p99", "max", "n"]]
    found: dict[str, Any] = {"terminates": count, "upstream_closed": len(closed)}
    for label, values in (("upstream closed", closed), ("answered", answered), ("stream ended", ended)):
        rows.append([label, percentile(values, 50), percentile(values, 99), max(values), len(values)])
        found[label.replace(" ", "_") + "_ms"] = {
            "p50": round(percentile(values, 50), 2),
            "p99": round(percentile(values, 99), 2),
        }
    show(rows)
    print(f"streams of the model still open: {stats['streams_active']}\n")
    return found


async def cancels(bench: Rig, client: aiohttp.ClientSession, url: str, options: argparse.Namespace) -> dict[str, Any]:
    dice = random.Random(options.seed)
    counts: dict[str, int] = {}
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(n: int) -> None:
        way = dice.choice(("cancel", "cancel twice", "terminate", "terminate twice", "leave and cancel"))
        pause = dice.random() * 0.15  # before the first token, and after it
        async with gate:
            counts[way] = counts.get(way, 0) + 1
            await stop_one(client, url, f"stop-{n}", way, pause)

    began = time.perf_counter()
    await asyncio.gather(*[one(n) for n in range(options.cancels)])
    elapsed = time.perf_counter() - began
    await asyncio.sleep(SETTLE_SECONDS)
    stats = bench.stats()
    left = stats["streams_active"]
    show([["stopped", *counts], ["times", *counts.values()]])
    print(f"in {elapsed:.1f} s; {SETTLE_SECONDS} s later the model still serves {left} streams\n")
    return {"cancels": options.cancels, "streams_left": left, "streams_started": stats["streams_started"]}


async def stop_one(client: aiohttp.ClientSession, url: str, name: str, way: str, pause: float) -> None:
    async with client.post(url, json={"session_id": name}) as response:
        assert response.status == 201
    stream = await client.post(f"{url}/{name}/messages/stream", json={"message": name})
    await asyncio.sleep(pause)
    if way == "leave and cancel":
        stream.close()
    times = 2 if way.endswith("twice") else 1
    if way.startswith("terminate"):
        statuses = await asyncio.gather(*[status(client.delete(f"{url}/{name}")) for _ in range(times)])
        assert sorted(statuses)[0] == 200, statuses
        assert set(statuses) <= {200, 410}, statuses
    else:
        statuses = await asyncio.gather(*[status(client.post(f"{url}/{name}/cancel")) for _ in range(times)])
        assert set(statuses) == {200}, statuses
    if way != "leave and cancel":
        rest = await stream.read()
        assert rest.endswith(b"data: [DONE]\n\n"), rest[-80:]
    stream.release()


async def status(request: Any) -> int:
    async with request as response:
        await response.read()
        found: int = response.status
        return found


async def until_text(response: aiohttp.ClientResponse) -> None:
    async for line in response.content:
        if line.startswith(b"data:") and b'"type"' not in line:
            return
    raise AssertionError("the stream ended before its first token")


if __name__ == "__main__":
    main()
