"""Three servers on one database share the work: each event is told once and in order, also what a dead one left."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

import httpx

from tests.acceptance.conftest import settings_for
from tests.fixtures.cluster import Cluster
from tests.fixtures.receiver import SECRET, Receiver
from tests.fixtures.talk import Talk
from tests.fixtures.upstream import Upstream

TALKS, MESSAGES = 6, 4


async def test_each_event_is_told_once_and_in_order(tmp_path: Path, postgres_url: str) -> None:
    async with Upstream() as upstream, Receiver() as receiver:
        delivery = {"private": ["127.0.0.1"], "first_pause": "30ms", "max_pause": "100ms", "timeout": "2s"}
        settings = settings_for(upstream, {"webhook_delivery": delivery})
        settings["webhooks"] = [{"url": receiver.url, "secret": SECRET}]
        await receiver.stop()
        async with Cluster(tmp_path, settings, postgres_url) as cluster:
            turns: dict[str, list[str]] = defaultdict(list)

            async def talk_at(url: str, number: int) -> None:
                async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                    talk = await Talk.begin(client, session_id=f"talk-{number}")
                    for _ in range(MESSAGES):
                        said = await talk.say("Hi.")
                        turns[talk.session_id].append(said["turn_id"])

            urls = list(cluster.urls)
            await asyncio.gather(*[talk_at(urls[number % len(urls)], number) for number in range(TALKS)])
            await cluster.kill("a")
            await receiver.listen()
            await receiver.wait_for(TALKS * MESSAGES)
            await asyncio.gather(*[talk_at(cluster["b"].base_url, number) for number in range(TALKS, TALKS + 3)])
            told = list(await receiver.wait_for((TALKS + 3) * MESSAGES))

        for session_id, expected in turns.items():
            assert [one.data["turn_id"] for one in told if one.data["session_id"] == session_id] == expected
        assert len(told) == len({one.id for one in told}) == (TALKS + 3) * MESSAGES
