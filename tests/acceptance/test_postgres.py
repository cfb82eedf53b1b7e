"""On Postgres everything is as on SQLite; and the database itself may die without anything that was accepted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import make_url

from app.cli.connection import Target, connect
from app.cli.migrate import migrate
from tests.acceptance.conftest import settings_for
from tests.fixtures.eventually import eventually
from tests.fixtures.line import Line
from tests.fixtures.postgres import Databases, PostgresServer, cut_connections, run
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import Stream, text_of, types_of
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Reply, Upstream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

STREAMS = 50


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server of this module's own: it is killed here."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def here(postgres: PostgresServer) -> Databases:
    return Databases(postgres.url("postgres"))


@pytest.fixture(scope="module")
def url(here: Databases) -> str:
    """With a password, which the server does not ask for and nobody may see."""
    made = here.create(migrated=False)
    return make_url(made).set(password="hidden-word").render_as_string(hide_password=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(provider: Upstream, url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HectorServer]:
    settings = settings_for(provider, {"storage": {"url": url}})
    server = HectorServer(Path(tmp_path_factory.mktemp("hector")), settings)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
        assert "hidden-word" not in server.log_text


# -- the same as ever ---------------------------------------------------------------------------


async def test_a_conversation_is_streamed_resumed_and_terminated(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, title="one\0two")
    upstream.answer(tokens=50, delay=0.005)
    async with talk.stream("Explain quantum computing") as stream:
        seen = await stream.take(20)
    async with talk.follow("?until=turn_end", last_id=str(seen[-1].seq)) as stream:
        rest = await stream.rest()
    text = "".join([f" t{number}" for number in range(50)])
    assert text_of([*seen, *rest]) == text
    numbers = [frame.seq for frame in [*seen, *rest] if frame.id]
    assert numbers == sorted(set(numbers))
    assert await talk.texts() == ["Explain quantum computing", text]
    assert text_of(await talk.replay(0)) == text
    assert (await talk.info())["title"] == "one\ufffdtwo"
    assert (await talk.terminate())["status"] == "terminated"
    assert reason(await client.get(talk.path)) == (410, "session_terminated")
    stranger = await client.get("/agents/assistant/sessions/nobody%00")
    assert reason(stranger) == (422, "invalid_request")


async def test_a_character_that_postgres_cannot_store_is_replaced_wherever_it_comes_from(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client, metadata={"a\0": ["b\0"]})
    upstream.answer(tokens=["a", "\0", "b\0c"])
    frames = await talk.stream_all("x\0y")
    assert text_of(frames) == "a\ufffdb\ufffdc"
    assert await talk.texts() == ["x\ufffdy", "a\ufffdb\ufffdc"]
    assert upstream.requests[-1].json["messages"][-1]["content"] == "x\ufffdy"


async def test_a_second_server_on_the_same_database_is_refused_in_one_sentence(
    server: HectorServer, provider: Upstream, url: str, tmp_path: Path
) -> None:
    second = HectorServer(tmp_path, settings_for(provider, {"storage": {"url": url}}))
    assert await second.run_to_end() == 3
    refusals = [line for line in second.log if "is at work on this data" in line]
    assert len(refusals) == 1
    assert server.base_url in refusals[0]
    assert "hidden-word" not in second.log_text


async def test_a_command_finds_the_server_that_works_on_the_database(server: HectorServer) -> None:
    async with connect(Target(config=server.config_file)) as client:
        assert client.place == server.base_url


async def test_a_database_is_migrated_by_a_command_of_its_own(
    provider: Upstream, here: Databases, tmp_path: Path
) -> None:
    url = here.create(migrated=False)
    server = HectorServer(tmp_path, settings_for(provider, {"storage": {"url": url, "migrate": "check"}}))
    assert await server.run_to_end() == 3
    assert "run `hector migrate`" in server.log_text
    assert migrate(server.config_file) == 0
    await server.start()
    await server.close()


# -- the server is killed -----------------------------------------------------------------------


async def test_a_server_killed_under_many_streams_has_every_message_and_one_end_for_every_turn(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer, url: str
) -> None:
    upstream.default = Reply(tokens=40, delay=0.01)
    crowd = await Crowd.gather(client, "killed")
    talking = asyncio.ensure_future(crowd.talk())
    await upstream.wait_for(requests=STREAMS * 2)
    await server.kill()
    crowd.is_over = True
    await talking
    upstream.default = Reply()
    await server.start()
    await crowd.check(url)
    said = await asyncio.gather(*[talk.say("again") for talk in crowd.talks])
    assert {answer["response"] for answer in said} == {" t0 t1 t2"}


async def test_a_server_that_was_cut_off_and_followed_by_another_writes_no_more_and_stops(
    provider: Upstream, upstream: Upstream, here: Databases, tmp_path: Path
) -> None:
    url = here.create()
    with Line(url) as line:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
        first, second = [
            HectorServer(folder, settings_for(provider, {"storage": {"url": address}}))
            for folder, address in ((tmp_path / "first", line.url), (tmp_path / "second", url))
        ]
        await first.start()
        async with httpx.AsyncClient(base_url=first.base_url, trust_env=False, timeout=15) as client:
            upstream.answer(tokens=1000, delay=0.01)
            talk = await Talk.begin(client, session_id="followed")
            turn_id = await talk.start("under way")
            await upstream.wait_for(tokens=50)
            await asyncio.sleep(0.3)
            line.go_down()
            await second.start()
            line.is_down = False
            assert await first.ended() == 3
        assert "another server has taken over this database" in first.log_text
        async with httpx.AsyncClient(base_url=second.base_url, trust_env=False, timeout=15) as client:
            talk = Talk(client, "followed")
            assert (await talk.turn(turn_id))["status"] == "interrupted"
            assert (await talk.texts())[1].startswith(" t0 t1")
            assert (await talk.say("again"))["response"] == " t0 t1 t2"
        await second.close()


# -- the database is killed ---------------------------------------------------------------------


@pytest.mark.parametrize("way", ["kill -9", "restart", "connections cut"])
async def test_a_database_that_dies_under_many_streams_loses_nothing_that_was_accepted(
    client: httpx.AsyncClient, upstream: Upstream, server: HectorServer, postgres: PostgresServer, url: str, way: str
) -> None:
    upstream.default = Reply(tokens=40, delay=0.01)
    crowd = await Crowd.gather(client, way.replace(" ", ""))
    talking = asyncio.ensure_future(crowd.talk())
    for round_ in (1, 2):
        await upstream.wait_for(requests=STREAMS * 2 * round_)
        if way == "connections cut":
            assert await asyncio.to_thread(cut_connections, url) >= 1
            continue
        await asyncio.to_thread(postgres.kill if way == "kill -9" else postgres.stop)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(postgres.start)
    await upstream.wait_for(requests=STREAMS * 6)
    crowd.is_over = True
    await talking
    await crowd.check(url)
    assert not crowd.refused, "it was back in time for everybody"
    assert set(crowd.ends.values()) == {"completed"}
    await eventually(lambda: is_ready(client, 200))


async def test_a_database_that_is_away_for_long_is_said_to_be_and_all_goes_on_when_it_is_back(
    client: httpx.AsyncClient, upstream: Upstream, postgres: PostgresServer, url: str
) -> None:
    talk, other = await Talk.begin(client), await Talk.begin(client)
    await talk.say("before")
    upstream.answer(tokens=200, delay=0.01)
    async with other.stream("under way") as stream:
        await stream.take(5)
        await asyncio.to_thread(postgres.stop)
        try:
            await eventually(lambda: is_ready(client, 503))
            refused = await talk.post("during")
            assert reason(refused) == (503, "storage_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            frames = await stream.rest()
            async with asyncio.timeout(1):  # it is known by now: nobody waits
                assert reason(await talk.post("during")) == (503, "storage_unavailable")
                assert reason(await client.post("/agents/assistant/sessions")) == (503, "storage_unavailable")
                assert reason(await client.get(f"{talk.path}/messages")) == (503, "storage_unavailable")
        finally:
            await asyncio.to_thread(postgres.start)
    assert types_of(frames)[-3:] == ["error", "turn_finished", "done"]
    assert (frames[-2].json["status"], frames[-2].json["reason"]) == ("failed", "storage_unavailable")
    await eventually(lambda: is_ready(client, 200))
    assert (await talk.say("after"))["response"] == " t0 t1 t2"
    assert await talk.texts() == ["before", " t0 t1 t2", "after", " t0 t1 t2"]
    await eventually(lambda: nothing_is_unfinished(url))
    ended = await other.turn(frames[-2].json["turn_id"])
    assert (ended["status"], ended["reason"]) == ("failed", "storage_unavailable")
    assert (await other.texts())[1] == "".join([f" t{number}" for number in range(200)])


async def nothing_is_unfinished(url: str) -> bool:
    return run(url, "SELECT * FROM turns WHERE finished_ms IS NULL") == []


async def is_ready(client: httpx.AsyncClient, status: int) -> bool:
    return (await client.get("/ready")).status_code == status


# -- a crowd ------------------------------------------------------------------------------------


class Refused(Exception):
    """503: nothing was stored."""


@dataclass
class Crowd:
    """Many clients, each with a session of its own, who say one thing after the other and note what they are told."""

    talks: list[Talk]
    is_over: bool = False
    said: dict[str, list[str]] = field(default_factory=dict)
    """What was accepted, by session: the client saw its `turn_started`."""
    unsure: dict[str, str] = field(default_factory=dict)
    """What was being said when the connection broke, by session."""
    refused: list[str] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    """Status by turn, as the streams told it."""
    texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def gather(cls, client: httpx.AsyncClient, name: str) -> Crowd:
        made = [Talk.begin(client, session_id=f"{name}-{number}") for number in range(STREAMS)]
        return cls(list(await asyncio.gather(*made)))

    async def talk(self) -> None:
        await asyncio.gather(*[self._talk_in(talk) for talk in self.talks])

    async def _talk_in(self, talk: Talk) -> None:
        said = self.said[talk.session_id] = []
        number = 0
        while not self.is_over:
            number += 1
            message = f"message {number}"
            self.unsure[talk.session_id] = message
            try:
                await self._say(talk, message, said)
            except httpx.TransportError:
                return
            except Refused:
                self.refused.append(message)
            del self.unsure[talk.session_id]

    async def _say(self, talk: Talk, message: str, said: list[str]) -> None:
        async with talk.client.stream("POST", f"{talk.path}/messages/stream", json={"message": message}) as response:
            if response.status_code == 503:
                raise Refused
            assert response.status_code == 200
            stream = Stream(response)
            turn_id, texts = "", []
            async for frame in stream:
                if frame.type == "turn_started":
                    turn_id = frame.json["turn_id"]
                    said.append(message)
                elif frame.type == "text":
                    texts.append(frame.json["chunk"])
                elif frame.type == "turn_finished":
                    assert turn_id not in self.ends, "a second end"
                    self.ends[turn_id] = frame.json["status"]
                    self.texts[turn_id] = "".join(texts)

    async def check(self, url: str) -> None:
        """Everything that was accepted is there, once; every turn has one end, and it is the one that was told."""
        for talk in self.talks:
            stored = await talk.messages()
            users = [message["content"] for message in stored if message["role"] == "user"]
            accepted, unsure = self.said[talk.session_id], self.unsure.get(talk.session_id)
            assert users in (accepted, [*accepted, unsure]), talk.session_id
            answers = {message["turn_id"]: message["content"] for message in stored if message["role"] == "assistant"}
            ends: Counter[str] = Counter()
            for event in await all_events(talk):
                if event["type"] == "turn_finished":
                    ends[event["turn_id"]] += 1
                    told = self.ends.get(event["turn_id"])
                    assert told in (None, event["status"])
                    if told == "completed":
                        assert answers[event["turn_id"]] == self.texts[event["turn_id"]]
            assert len(ends) == len(users)
            assert set(ends.values()) <= {1}
        names = ", ".join([f"'{talk.session_id}'" for talk in self.talks])
        assert run(url, f"SELECT * FROM turns WHERE finished_ms IS NULL AND session_id IN ({names})") == []
        counted = run(url, f"SELECT sum(message_count) FROM sessions WHERE session_id IN ({names})")
        assert counted == run(url, f"SELECT count(*) FROM messages WHERE session_id IN ({names})")


async def all_events(talk: Talk) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        page = good(await talk.client.get(f"{talk.path}/events?after={after}&limit=200"))
        found += page["events"]
        if not page["events"] or page["next_after"] in (None, after):
            return found
        after = page["next_after"]
