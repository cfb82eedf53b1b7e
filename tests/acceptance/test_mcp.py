"""MCP servers at work in turns: of others, that die, hang, take their time, and ask."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.clients.tools import PROGRAMS
from tests.fixtures.eventually import eventually
from tests.fixtures.mcp_servers import HERE, HttpServer, lines_of
from tests.fixtures.server import HectorServer
from tests.fixtures.talk import Talk

RESULT = {"content": [{"type": "text", "text": "the job is done"}]}


def calls(*named: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"text": "", "calls": [{"name": name, "arguments": arguments} for name, arguments in named]}


def settings(servers: dict[str, Any], script: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "server": {"shutdown_grace": "300ms"},
        "llms": {"demo": {"type": "scripted", "script": list(script)}},
        "agents": {"assistant": {"llm": "demo", "tools": list(servers), "reasoning": {"on_crash": "resume"}}},
        "tools": {"mcp": servers},
    }


def of_folder(folder: Path) -> dict[str, Any]:
    return {"command": sys.executable, "args": [str(HERE / "sdk_server.py"), str(folder)]}


@asynccontextmanager
async def serving(folder: Path, configured: dict[str, Any]) -> AsyncIterator[tuple[HectorServer, httpx.AsyncClient]]:
    server = HectorServer(folder, configured, start_seconds=40)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, timeout=50) as client:
            yield server, client
    finally:
        await server.close()


async def outcomes(talk: Talk) -> list[str]:
    """What the model was told of its calls."""
    return [message["content"] for message in await talk.messages() if message["role"] == "tool"]


async def all_connected(server: HectorServer, count: int) -> None:
    async def are() -> bool:
        return server.log_text.count(" is connected: ") >= count

    await eventually(are, within=40)


async def test_two_servers_are_used_in_one_turn(tmp_path: Path) -> None:
    web = HttpServer(tmp_path)
    await web.start()
    servers = {"time": {"command": str(PROGRAMS / "mcp-server-time")}, "web": {"url": web.url}}
    zones = {"source_timezone": "Europe/Brussels", "time": "16:30", "target_timezone": "Asia/Tokyo"}
    script = [
        calls(("mcp__time__convert_time", zones), ("mcp__web__add", {"a": 2, "b": 3})),
        {"text": "There you are."},
    ]
    try:
        async with serving(tmp_path, settings(servers, script)) as (server, client):
            await all_connected(server, 2)
            talk = await Talk.begin(client)
            answer = await talk.say("What time is it in Tokyo, and what is 2 + 3?")
            told = await outcomes(talk)
    finally:
        await web.kill()

    assert answer["response"] == "There you are."
    assert "Asia/Tokyo" in told[0]
    assert told[1] == "5"


async def test_a_server_that_dies_in_mid_call_leaves_it_unknown_and_serves_the_next_turn(tmp_path: Path) -> None:
    script = [
        calls(("mcp__demo__crash", {})),
        {"text": "Hm."},
        calls(("mcp__demo__add", {"a": 1, "b": 2})),
        {"text": "3"},
    ]
    configured = settings({"demo": of_folder(tmp_path)}, script)
    configured["agents"]["assistant"]["reasoning"]["on_unknown"] = "tell_model"
    async with serving(tmp_path, configured) as (server, client):
        await all_connected(server, 1)
        talk = await Talk.begin(client)
        await talk.say("Crash.")
        await all_connected(server, 2)
        await talk.say("Add.")
        told = await outcomes(talk)

    assert lines_of(tmp_path / "crash") == ["begun"]
    assert "It is not known whether this call happened" in told[0]
    assert told[1] == "3"


async def test_a_silent_server_does_not_keep_others_from_their_work(tmp_path: Path) -> None:
    silent = {"command": sys.executable, "args": [str(HERE / "raw_server.py"), "silent", str(tmp_path)]}
    script = [calls(("mcp__demo__add", {"a": 1, "b": 2})), {"text": "3"}]
    async with serving(tmp_path, settings({"silent": silent, "demo": of_folder(tmp_path)}, script)) as (server, client):
        await all_connected(server, 1)
        talk = await Talk.begin(client)
        await talk.say("Add.")

        assert await outcomes(talk) == ["3"]


async def test_a_task_survives_the_death_of_the_server_that_waits_for_it(tmp_path: Path) -> None:
    # A scripted model begins its script again after a restart; with `when` it looks at what it was told.
    script = [calls(("mcp__demo__job", {})), {"text": "Finished.", "when": "the job is done"}]
    async with serving(tmp_path, settings({"demo": of_folder(tmp_path)}, script)) as (server, client):
        await all_connected(server, 1)
        talk = await Talk.begin(client)
        turn_id = await talk.start("Do the job.")
        await eventually(lambda: _has_lines(tmp_path / "polls"), within=40)
        await server.kill()
        (tmp_path / "task-1").write_text(json.dumps({"status": "completed", "result": RESULT}), encoding="utf-8")
        await server.start()
        turn = await talk.finished(turn_id)
        told = await outcomes(talk)

    assert turn["status"] == "completed"
    assert told == ["the job is done"]
    assert lines_of(tmp_path / "jobs") == ["created"]


async def test_a_question_is_answered_after_a_restart(tmp_path: Path) -> None:
    script = [calls(("mcp__demo__order", {})), {"text": "Ordered.", "when": "bicycle"}]
    async with serving(tmp_path, settings({"demo": of_folder(tmp_path)}, script)) as (server, client):
        await all_connected(server, 1)
        talk = await Talk.begin(client)
        turn_id = await talk.start("Order something.")
        await answer(client, talk, "What?", {"what": "a bicycle"})
        await eventually(lambda: _asks(client, talk, "How many?"), within=40)
        await server.stop()
        await server.start()
        await answer(client, talk, "How many?", {"count": 2})
        turn = await talk.finished(turn_id)

    assert turn["status"] == "completed"
    *_, last = lines_of(tmp_path / "order")
    assert "a bicycle" in last
    assert "'count': 2" in last


async def _waiting(client: httpx.AsyncClient, talk: Talk) -> list[dict[str, Any]]:
    found = await client.get(f"/agents/assistant/sessions/{talk.session_id}/calls?state=waiting")
    calls: list[dict[str, Any]] = found.json()["calls"]
    return calls


async def _asks(client: httpx.AsyncClient, talk: Talk, question: str) -> dict[str, Any] | None:
    waiting = await _waiting(client, talk)
    return next((call for call in waiting if question in json.dumps(call)), None)


async def answer(client: httpx.AsyncClient, talk: Talk, question: str, result: dict[str, Any]) -> None:
    call = await eventually(lambda: _asks(client, talk, question), within=40)
    assert call is not None
    path = f"/agents/assistant/sessions/{talk.session_id}/calls/{call['call_id']}/result"
    posted = await client.post(path, json={"result": result})
    assert posted.status_code == 200, posted.text


async def _has_lines(path: Path) -> bool:
    return bool(lines_of(path))
