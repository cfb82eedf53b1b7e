"""What operators look at and do: metrics, log lines with ids, a configuration read anew."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets
from prometheus_client.parser import text_string_to_metric_families

from app import __version__
from tests.acceptance.conftest import settings_for
from tests.cli.command import Hector
from tests.fixtures.eventually import eventually
from tests.fixtures.server import ON_CLUSTER, ROOT, HectorServer
from tests.fixtures.talk import Talk, good, reason
from tests.fixtures.upstream import Upstream

alone = pytest.mark.skipif(ON_CLUSTER, reason="each of two servers counts its own requests")
Settings = dict[str, Any]
Figures = dict[tuple[str, ...], float]


class Operated(HectorServer):
    """A server whose log is JSON, and which is told to read its configuration anew."""

    def _ready_line(self, begin: int) -> str | None:
        messages = [str(line["message"]) for line in self.lines[begin:]]
        return next((text.removeprefix("ready at ") for text in messages if text.startswith("ready at ")), None)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line, which must be an object."""
        return [dict(json.loads(line)) for line in self.log]

    async def reload(self, settings: Settings | str, *, says: str) -> None:
        """Write another configuration, ask for it to be read, and wait for the line that tells of it."""
        if isinstance(settings, str):
            self.config_file.write_text(settings)
        else:
            self.configure(settings)
        since = len(self.log)
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGHUP)
        await self.wait_for_log(says, since=since)


@pytest.fixture
def settings(upstream: Upstream) -> Settings:
    changes = {
        "logging": {"format": "json", "level": "debug"},
        "agents": {"assistant": agent("You are first.")},
        "webhook_delivery": {"per_session": True},  # their figures are there where webhooks may be
    }
    return settings_for(upstream, changes)


def agent(prompt: str) -> Settings:
    return {"prompt": {"system_prompt": prompt}}


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture
async def server(settings: Settings, tmp_path: Path) -> AsyncIterator[Operated]:
    server = Operated(tmp_path, settings)
    await server.start()
    yield server
    await server.close()


@pytest_asyncio.fixture
async def client(server: Operated) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.base_url, timeout=15, trust_env=False) as client:
        yield client


async def figures(client: httpx.AsyncClient) -> Figures:
    """(name, label values …) → value of everything that /metrics tells; labels in the order of their names."""
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


# -- metrics ----------------------------------------------------------------------------------------------------


async def test_turns_are_counted_by_how_they_ended(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    await talk.say("Hello")
    await talk.say("Hello")
    upstream.answer(status=500)
    assert reason(await talk.post("Hello")) == (502, "llm_error")
    upstream.answer(tokens=3, hang="after_tokens")
    await talk.start("Hello")
    await upstream.wait_for(tokens=3)
    await talk.cancel()
    upstream.answer(tokens=3, hang="after_tokens")
    await talk.start("Hello")
    await upstream.wait_for(requests=5, tokens=3)
    await talk.terminate()

    upstream.answer(status=401)
    assert reason(await (await Talk.begin(client)).post("Hello")) == (502, "llm_error")

    async def counted() -> bool:
        found = await figures(client)
        return ("hector_turns_total", *turns("cancelled", "session_terminated")) in found

    await eventually(counted)
    found = await figures(client)
    assert {key[1:]: count for key, count in found.items() if key[0] == "hector_turns_total"} == {
        turns("completed"): 2,
        turns("failed", "llm_error", "500"): 1,
        turns("failed", "llm_error", "401"): 1,
        turns("cancelled", "cancelled"): 1,
        turns("cancelled", "session_terminated"): 1,
    }
    assert found["hector_turn_seconds_count", "assistant"] == 6


def turns(status: str, reason: str = "", provider_status: str = "") -> tuple[str, ...]:
    """The labels of turns of the one agent, in the order of their names."""
    return "assistant", "default", provider_status, reason, status


@alone
async def test_requests_are_counted_by_route_and_status_and_timed(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=5, first_delay=0.3)
    events = await talk.stream_all("Hello")
    for path in ("/agents/nobody", "/no/such", "/and/another"):
        assert (await client.get(path)).status_code == 404
    assert (await client.head("/agents")).status_code == 200
    assert (await client.get("/agents", headers={"Host": "evil.example"})).status_code == 421
    async with websockets.connect(f"{client.base_url}/agents/assistant/stream".replace("http", "ws", 1)):
        pass

    found = await figures(client)
    stream = "/agents/{agent}/sessions/{session_id}/messages/stream"
    assert {key[1:]: count for key, count in found.items() if key[0] == "hector_http_requests_total"} == {
        ("POST", "/agents/{agent}/sessions", "201"): 1,
        ("POST", stream, "200"): 1,
        ("GET", "/agents/{agent}", "404"): 1,
        ("GET", "other", "404"): 2,
        ("HEAD", "/agents", "200"): 1,
        ("GET", "/agents", "421"): 1,
        ("WEBSOCKET", "/agents/{agent}/stream", "101"): 1,
    }
    assert len(events) > 5
    assert found["hector_http_request_seconds_count", "POST", stream] == 1
    assert found["hector_http_request_seconds_sum", "POST", stream] < 0.3  # its answer began before the model's


@alone
async def test_a_request_that_is_none_and_one_that_is_left_are_counted(
    client: httpx.AsyncClient, upstream: Upstream, server: Operated
) -> None:
    upstream.answer(hang="before_headers")
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/agents/assistant/messages", json={"message": "Hello"}, timeout=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"no HTTP at all\r\n\r\n")
    assert b"400" in await reader.readline()
    writer.close()

    async def counted() -> bool:
        found = await figures(client)
        left = ("hector_http_requests_total", "POST", "/agents/{agent}/messages", "499")
        return found.get(left) == found.get(("hector_http_requests_total", "other", "other", "400")) == 1

    await eventually(counted)


async def test_the_process_and_the_program_tell_what_they_are(client: httpx.AsyncClient) -> None:
    found = await figures(client)
    assert found["hector_build_info", platform.python_version(), __version__] == 1
    assert found["process_resident_memory_bytes",] > 1e7
    assert found["process_max_fds",] > found["process_open_fds",] > 5


async def test_tokens_and_times_of_turns_are_there(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=5, first_delay=0.15, delay=0.06)
    await talk.say("Hello")
    found = await figures(client)
    assert found["hector_tokens_total", "assistant", "prompt", "default"] == 5
    assert found["hector_tokens_total", "assistant", "completion", "default"] == 7
    assert 0.14 < found["hector_first_token_seconds_sum", "assistant"] < 2
    assert found["hector_first_token_seconds_count", "assistant"] == 1
    assert 0.35 < found["hector_turn_seconds_sum", "assistant"] < 3
    assert 0.05 < found["hector_longest_gap_seconds_sum", "assistant"] < 2


async def test_what_goes_on_now_can_be_seen(client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=3, hang="after_tokens")
    async with talk.stream("Hello") as stream, talk.follow():
        await stream.take(3)
        found = await figures(client)
        names = ("hector_turns_running", "hector_upstream_streams", "hector_readers", "hector_sessions_warm")
        assert [found[name,] for name in names] == [1, 1, 2, 1]
        await talk.cancel()
        await stream.rest()

    async def is_quiet() -> bool:
        found = await figures(client)
        return [found[name,] for name in names] == [0, 0, 0, 1]

    await eventually(is_quiet)
    found = await figures(client)
    assert found["hector_writer_units_total",] >= found["hector_writer_batches_total",] >= 2
    assert found["hector_writer_waiting",] == 0
    assert found["hector_journal_lag_seconds",] == 0


async def test_the_page_on_operation_has_every_metric_and_no_other(client: httpx.AsyncClient) -> None:
    page = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\| `((?:hector|process)_\w+?)(?:_total)?` \|", page, re.MULTILINE))
    shown = {name for name in shown if not name.startswith("hector_tail_")}  # with Redis: tests/deploy/test_watching.py
    text = (await client.get("/metrics")).text
    assert {family.name for family in text_string_to_metric_families(text)} == shown


# -- logs -------------------------------------------------------------------------------------------------------


async def test_the_line_of_a_turn_names_session_turn_and_agent(
    server: Operated, client: httpx.AsyncClient, upstream: Upstream
) -> None:
    talk = await Talk.begin(client)
    completed = await talk.say("Hello")
    upstream.answer(status=500)
    await talk.post("Hello")
    await server.wait_for_log("turn failed")
    told = [line for line in server.lines if line["message"].startswith("turn ")]
    assert [(line["level"], line["session_id"], line["agent"]) for line in told] == [
        ("debug", talk.session_id, "assistant"),
        ("warning", talk.session_id, "assistant"),
    ]
    assert told[0]["turn_id"] == completed["turn_id"]


async def test_a_refused_request_is_logged_with_its_id_and_its_client(
    server: Operated, client: httpx.AsyncClient
) -> None:
    refused = await client.get("/agents", headers={"Host": "evil.example"})
    assert refused.status_code == 421
    await server.wait_for_log("refused a request")
    [line] = [line for line in server.lines if line["message"].startswith("refused a request")]
    assert line["request_id"] == refused.json()["error"]["request_id"]
    assert line["message"] == "refused a request from 127.0.0.1: forbidden_host"


async def test_no_line_holds_what_people_say(server: Operated, client: httpx.AsyncClient, upstream: Upstream) -> None:
    talk = await Talk.begin(client, title="A private title")
    upstream.answer(tokens=["a private answer"])
    await talk.say("a private question")
    assert "private" not in server.log_text


# -- reload -----------------------------------------------------------------------------------------------------


async def test_hector_reload_asks_the_running_server(server: Operated, settings: Settings, tmp_path: Path) -> None:
    hector = Hector(tmp_path)
    server.configure(settings | {"agents": {"other": {}}})

    done = await hector("reload", "--config", str(server.config_file))

    assert (done.code, done.err) == (0, "")
    await server.wait_for_log("agents and models reloaded: other")


async def test_hector_reload_asks_nothing_of_a_wrong_file_and_finds_no_server_where_none_is(
    server: Operated, settings: Settings, tmp_path: Path
) -> None:
    hector = Hector(tmp_path)
    wrong, elsewhere = tmp_path / "wrong.yaml", tmp_path / "elsewhere.yaml"
    wrong.write_text("agents: {a: {llm: none}}\n")
    elsewhere.write_text("storage: {url: 'sqlite:///other/hector.db'}\n")

    refused = await hector("reload", "--config", str(wrong))
    alone = await hector("reload", "--config", str(elsewhere))

    assert (refused.code, alone.code) == (2, 3)
    assert "agents.a.llm" in refused.err
    assert "no server runs" in alone.err
    assert "reloaded" not in server.log_text


async def test_a_changed_prompt_and_a_new_agent_are_there_after_sighup(
    server: Operated, client: httpx.AsyncClient, upstream: Upstream, settings: Settings
) -> None:
    talk = await Talk.begin(client)
    await talk.say("one")
    settings["agents"] = {"assistant": agent("You are second."), "poet": agent("You rhyme.")}
    await server.reload(settings, says="reloaded")
    await talk.say("two")
    messages = upstream.requests[-1].json["messages"]
    assert messages[0]["content"] == "You are second."
    assert [message["content"] for message in messages[1:]] == ["one", " t0 t1 t2", "two"]
    await (await Talk.begin(client, agent="poet")).say("three")
    assert upstream.requests[-1].json["messages"][0]["content"] == "You rhyme."


async def test_an_agent_that_is_gone_is_gone_and_its_sessions_come_back_with_it(
    server: Operated, client: httpx.AsyncClient, settings: Settings
) -> None:
    agents = {"assistant": agent("You are first."), "poet": agent("You rhyme.")}
    await server.reload(settings | {"agents": agents}, says="reloaded")
    talk = await Talk.begin(client, agent="poet")
    await server.reload(settings, says="reloaded")
    assert reason(await client.get(talk.path)) == (404, "agent_not_found")
    await server.reload(settings | {"agents": agents}, says="reloaded")
    await talk.say("Hello")


@pytest.mark.parametrize("broken", ["agents: [", "agents: {assistant: {llm: unknown}}", "agents: {a: {promt: {}}}"])
async def test_a_broken_configuration_changes_nothing_and_is_told(
    server: Operated, client: httpx.AsyncClient, upstream: Upstream, settings: Settings, broken: str
) -> None:
    talk = await Talk.begin(client)
    await server.reload(broken, says="the configuration was not reloaded")
    line = server.lines[-1]
    assert line["level"] == "error"
    assert "config.yaml:1" in line["message"]
    await talk.say("Hello")
    assert upstream.requests[-1].json["messages"][0]["content"] == "You are first."
    await server.reload(settings | {"agents": {"assistant": agent("Mended.")}}, says="reloaded")
    await talk.say("Hello")
    assert upstream.requests[-1].json["messages"][0]["content"] == "Mended."


async def test_a_running_turn_ends_with_the_model_it_began_with(
    server: Operated, client: httpx.AsyncClient, upstream: Upstream, settings: Settings
) -> None:
    talk = await Talk.begin(client)
    upstream.answer(tokens=30, delay=0.02)
    answering = asyncio.create_task(talk.say("Hello"))
    await upstream.wait_for(tokens=3)
    async with Upstream() as other:
        llms = {"default": settings["llms"]["default"] | {"host": other.base_url}}
        await server.reload(settings | {"llms": llms}, says="reloaded")
        assert not answering.done()
        assert (await answering)["response"] == "".join([f" t{number}" for number in range(30)])
        await talk.say("Hello")
        assert (len(upstream.requests), len(other.requests)) == (1, 1)


async def test_what_cannot_change_while_serving_is_named(
    server: Operated, client: httpx.AsyncClient, settings: Settings
) -> None:
    await server.reload(settings | {"sessions": {"timeout": "1h"}}, says="needs a restart")
    assert server.lines[-1]["message"] == "changed, but needs a restart: sessions"
    created = good(await client.post("/agents/assistant/sessions"))
    assert created["expires_at"] is None
