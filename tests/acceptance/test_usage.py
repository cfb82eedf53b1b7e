"""GET /usage: what the provider counted, by user, session, agent and day, and what it cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {
    "llm": {"price": {"prompt": 2.0, "completion": 10.0}},
    "llms": {
        "dead": {"type": "openai", "model": "m", "host": "http://127.0.0.1:9/v1", "api_key": "k", "max_retries": 0},
        "keyless": {"type": "openai", "model": "m", "api_key": ""},
    },
    "agents": {"assistant": {}, "second": {}, "dead": {"llm": "dead"}, "keyless": {"llm": "keyless"}},
}
TODAY = datetime.now(UTC).date()


class Person:
    """Somebody of whom nothing is in the ledger yet; what the mock told is summed up in `told`."""

    def __init__(self, client: httpx.AsyncClient, upstream: Upstream) -> None:
        self.client = client
        self.upstream = upstream
        self.name = f"user-{uuid4().hex[:8]}"
        self.told: list[tuple[int, int]] = []

    @property
    def headers(self) -> dict[str, str]:
        return {"X-User-Id": self.name}

    async def begin(self, agent: str = "assistant", **body: Any) -> Talk:
        return await Talk.begin(self.client, agent=agent, user_id=self.name, **body)

    def tells(self, prompt: int, completion: int) -> None:
        """The next answer is counted like this."""
        self.told.append((prompt, completion))
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        self.upstream.answer(usage=usage)

    async def usage(self, by: str, **query: str) -> list[dict[str, Any]]:
        response = await self.client.get("/usage", params={"by": by, **query}, headers=self.headers)
        return list(good(response)["usage"])

    @property
    def sums(self) -> dict[str, Any]:
        prompt, completion = sum(pair[0] for pair in self.told), sum(pair[1] for pair in self.told)
        return {
            "turns": len(self.told),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "cost": round((prompt * 2.0 + completion * 10.0) / 1_000_000, 6),
        }


@pytest.fixture
def person(client: httpx.AsyncClient, upstream: Upstream) -> Person:
    return Person(client, upstream)


async def test_the_sums_are_what_the_provider_told(person: Person, server: HectorServer) -> None:
    first, second = await person.begin(), await person.begin("second")
    for talk, prompt, completion in ((first, 11, 5), (first, 23, 7), (second, 31, 13)):
        person.tells(prompt, completion)
        await talk.say("Hello")
    assert await person.usage("user") == [{"user_id": person.name} | person.sums]
    assert await person.usage("day") == [{"day": TODAY.isoformat()} | person.sums]
    by_agent = {row["agent"]: row for row in await person.usage("agent")}
    assert {name: (row["turns"], row["total_tokens"]) for name, row in by_agent.items()} == {
        "assistant": (2, 46),
        "second": (1, 44),
    }
    by_session = {row["session_id"]: row for row in await person.usage("session")}
    assert (by_session[first.session_id]["turns"], by_session[first.session_id]["prompt_tokens"]) == (2, 34)
    assert by_session[second.session_id]["cost"] == round((31 * 2 + 13 * 10) / 1_000_000, 6)


async def test_one_shots_and_sessions_in_memory_are_counted(person: Person, server: HectorServer) -> None:
    person.tells(11, 5)
    good(await person.client.post("/agents/assistant/messages", json={"message": "Hello"}, headers=person.headers))
    person.tells(13, 7)
    await (await person.begin(ephemeral=True)).say("Hello")

    async def is_counted() -> bool:
        return [{"user_id": person.name} | person.sums] == await person.usage("user")

    await eventually(is_counted)
    assert await person.usage("session") == []


async def test_a_terminated_session_leaves_its_tokens_in_the_ledger(person: Person, server: HectorServer) -> None:
    talk = await person.begin()
    person.tells(11, 5)
    await talk.say("Hello")
    await talk.terminate()
    assert await person.usage("agent") == [{"agent": "assistant"} | person.sums]
    assert await person.usage("session") == []


async def test_a_turn_that_a_terminate_cut_counts_what_was_seen(person: Person, server: HectorServer) -> None:
    talk = await person.begin()
    person.upstream.answer(tokens=20, hang="after_tokens")
    async with talk.stream("Hello") as stream:
        await stream.take(20)
        await talk.terminate()
    [row] = await eventually(lambda: person.usage("user"))
    assert row["turns"] == 1
    assert row["prompt_tokens"] > 0
    assert row["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("agent", "reply"),
    [
        ("dead", None),
        ("keyless", None),
        ("assistant", {"status": 401}),
        ("assistant", {"status": 500}),
        ("assistant", {"raw": [b'data: {"error": {"message": "overloaded", "code": 503}}\n\n']}),
        ("assistant", {"cut_after": -1}),
    ],
)
async def test_a_turn_that_no_model_took_costs_nothing(
    person: Person, server: HectorServer, agent: str, reply: dict[str, Any] | None
) -> None:
    talk = await person.begin(agent)
    if reply is not None:
        person.upstream.answer(**reply)
    counted = await tokens_total(person.client)
    finished = (await talk.stream_all("word " * 1000))[-2].json
    assert (finished["status"], finished["usage"]) == ("failed", None)
    assert (await talk.turn(finished["turn_id"]))["usage"] is None
    assert (await talk.info())["usage"]["total_tokens"] == 0
    assert await person.usage("user") == []
    assert await tokens_total(person.client) == counted


async def tokens_total(client: httpx.AsyncClient) -> list[str]:
    lines = (await client.get("/metrics")).text.splitlines()
    return [line for line in lines if line.startswith("hector_tokens_total")]


async def test_a_turn_that_was_cut_is_counted_from_what_was_read(person: Person, server: HectorServer) -> None:
    talk = await person.begin()
    person.upstream.answer(tokens=["one", " two", " three"], cut_after=2)
    finished = (await talk.stream_all("Hello"))[-2].json
    assert finished["usage"]["source"] != "provider"
    assert finished["usage"]["completion_tokens"] == 2
    [row] = await person.usage("user")
    assert row["total_tokens"] == finished["usage"]["total_tokens"]


async def test_a_fork_costs_nothing_and_a_new_answer_does(person: Person, server: HectorServer) -> None:
    talk = await person.begin()
    person.tells(11, 5)
    await talk.say("Hello")
    made = good(await person.client.post(f"{talk.path}/fork", headers=person.headers))
    copy = Talk(person.client, made["session_id"])
    person.tells(13, 7)
    good(await person.client.post(f"{copy.path}/regenerate", headers=person.headers))
    assert await person.usage("user") == [{"user_id": person.name} | person.sums]
    by_session = {row["session_id"]: (row["turns"], row["prompt_tokens"]) for row in await person.usage("session")}
    assert by_session == {talk.session_id: (1, 11), copy.session_id: (1, 13)}


async def test_the_ledger_survives_a_restart(person: Person, server: HectorServer) -> None:
    talk = await person.begin()
    person.tells(11, 5)
    await talk.say("Hello")
    assert await server.stop() == 0
    await server.start()
    assert await person.usage("user") == [{"user_id": person.name} | person.sums]


async def test_days_choose_what_is_summed(person: Person, server: HectorServer) -> None:
    person.tells(11, 5)
    talk = await person.begin()
    await talk.say("Hello")
    yesterday, tomorrow = (TODAY - timedelta(days=1)).isoformat(), (TODAY + timedelta(days=1)).isoformat()
    for by in ("user", "session", "agent", "day"):
        assert len(await person.usage(by, **{"from": TODAY.isoformat(), "to": TODAY.isoformat()})) == 1
        assert await person.usage(by, to=yesterday) == []
        assert await person.usage(by, **{"from": tomorrow}) == []


async def test_one_person_does_not_see_anothers_usage(person: Person, server: HectorServer) -> None:
    other = Person(person.client, person.upstream)
    other.tells(11, 5)
    await (await other.begin()).say("Hello")
    assert await person.usage("user") == []


@pytest.mark.parametrize("query", [{"by": "moon"}, {"from": "yesterday"}, {"to": "2026-13-01"}])
async def test_a_query_that_means_nothing_is_refused(
    person: Person, server: HectorServer, query: dict[str, str]
) -> None:
    assert reason(await person.client.get("/usage", params=query)) == (422, "invalid_request")
