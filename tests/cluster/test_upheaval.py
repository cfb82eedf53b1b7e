"""The short forms of tests.cluster.upheaval, and of the kill matrix with three servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.upheaval import upheave
from tests.fixtures.redis import RedisServer
from tests.kills.run import Run


@pytest.mark.timeout(240)
@pytest.mark.parametrize("redis", [False, True], ids=["database", "redis"])
async def test_restarting_all_servers_one_by_one_cuts_no_answer(redis: bool) -> None:
    assert await upheave("rolling", streams=8, redis=redis, tokens=20, delay=0.1) == []


@pytest.mark.timeout(240)
async def test_a_database_that_is_restarted_under_turns_loses_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert await upheave("postgres", turns=80, pauses=(0.5, 1.5), redis=True, tokens=20, delay=0.02) == []
    assert "Postgres," in capfd.readouterr().out, "it was never restarted"


@pytest.mark.timeout(240)
async def test_when_one_of_three_servers_dies_in_a_call_another_goes_on_and_no_call_happens_twice(
    tmp_path: Path, postgres_url: str, shared_redis: RedisServer
) -> None:
    run = Run(
        tmp_path,
        1,
        on_crash="resume",
        postgres_url=postgres_url,
        replicas=3,
        redis_url=shared_redis.url,
        points=("in the body, after its effect", "before the checkpoint"),
    )
    await run.go(kills=2)
    assert run.problems == []
    assert run.counts["acts"] > 5, "the clients have become idle"
