"""Streams as six SSE libraries hand them on: JSON or the end mark in every event, whatever is sent between them."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn

from app.config.root import Config
from app.events.log import SessionLog
from app.llm.scripted import Answer, ScriptedLLM
from app.main import create_app
from app.routers.open_files import OpenFiles
from app.routers.protocol import BoundedProtocol
from app.runtime import Runtime
from tests.clients.tools import HERE, NODE_MODULES, PROGRAMS, run
from tests.fixtures.talk import good

PYTHON = ("httpx-sse", "sseclient-py", "aiohttp-sse-client2")
NODE = ("@microsoft/fetch-event-source", "eventsource", "eventsource-parser")
TURN = ["turn_started", " t", " t", "turn_finished", "[DONE]"]
TEXT = [" t", " t", "[DONE]"]
EXPECTED = {"post": TURN, "text": TEXT, "follow": TURN, "replay": TURN, "resumed": TURN[2:], "replayed text": TEXT}
SILENCE_MS = 400


class Beats(Counter[str]):
    """Heartbeats by session."""


@pytest.fixture
async def beats() -> Beats:
    return Beats()


@pytest.fixture
async def base_url(beats: Beats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server whose heartbeats come often and whose model thinks for a while."""
    config = Config.model_validate(
        {
            "server": {"heartbeat": "100ms"},
            "storage": {"url": f"sqlite:///{tmp_path}/h.db"},
            "llms": {"demo": {"type": "scripted"}},
        }
    )
    llm = ScriptedLLM("demo", [Answer(" t t", first_delay_ms=SILENCE_MS, delay_ms=120)])
    runtime = Runtime(config, llms={"demo": llm})
    await runtime.open()
    phase = runtime.conversation.phase

    def counted(session_log: SessionLog) -> dict[str, object]:
        beats[session_log.session.session_id] += 1
        return phase(session_log)

    monkeypatch.setattr(runtime.conversation, "phase", counted)
    listener = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(
        create_app(runtime),
        http=cast(Any, partial(BoundedProtocol, config.server, OpenFiles())),
        ws="none",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/agents/assistant/sessions"
    server.should_exit = True
    runtime.begin_shutdown()
    await serving
    await runtime.close()


async def test_every_event_that_a_library_hands_on_has_data(base_url: str, beats: Beats, tmp_path: Path) -> None:
    shutil.copy(HERE / "typescript" / "sse.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:

        async def session() -> str:
            return str(good(await client.post(base_url))["session_id"])

        async def over() -> str:
            session_id = await session()
            good(await client.post(f"{base_url}/{session_id}/messages", json={"message": "Hello"}))
            return session_id

        done = await over()
        ids = {library: [await session() for _ in range(3)] for library in PYTHON + NODE}
        streams = {library: _streams(base_url, sessions, done) for library, sessions in ids.items()}
        reading = asyncio.gather(
            run(PROGRAMS / "python", HERE / "python" / "sse.py", _some(streams, PYTHON), folder=tmp_path),
            run("node", "sse.mjs", _some(streams, NODE), folder=tmp_path),
        )
        following = [sessions[2] for sessions in ids.values()]
        while not all(beats[session_id] > 1 for session_id in following):
            assert not reading.done(), await reading
            await asyncio.sleep(0.01)
        for session_id in following:
            said = {"message": "Hello", "background": True}
            good(await client.post(f"{base_url}/{session_id}/messages", json=said))
        by_python, by_node = map(json.loads, await reading)

    found = by_python | by_node
    assert {
        library: {name: _shown(seen) for name, seen in each.items()} for library, each in found.items()
    } == dict.fromkeys(PYTHON + NODE, EXPECTED)
    for library, sessions in ids.items():
        assert beats[sessions[0]] > 1, library  # while the model was silent
        for name in ("post", "follow", "replay"):
            assert [str(seen[0]) for seen in found[library][name]][:4] == ["1", "2", "3", "4"], (library, name)


def _streams(base_url: str, sessions: list[str], done: str) -> dict[str, dict[str, Any]]:
    posted, text, followed = sessions

    def url(session_id: str, query: str = "") -> str:
        return f"{base_url}/{session_id}/messages/stream{query}"

    body = {"message": "Hello"}
    return {
        "post": {"method": "POST", "url": url(posted), "body": body},
        "text": {"method": "POST", "url": url(text, "?frames=text"), "body": body},
        "follow": {"method": "GET", "url": url(followed)},
        "replay": {"method": "GET", "url": url(done, "?after=0&until=turn_end")},
        "resumed": {"method": "GET", "url": url(done, "?until=turn_end"), "last": "2"},
        "replayed text": {"method": "GET", "url": url(done, "?after=0&until=turn_end&frames=text")},
    }


def _some(streams: dict[str, Any], libraries: tuple[str, ...]) -> str:
    return json.dumps({library: streams[library] for library in libraries})


def _shown(seen: list[list[str]]) -> list[str]:
    """The type of each event, the chunk of plain ones; fails where the data is none of ours."""
    return [
        data if data == "[DONE]" else (frame := json.loads(data)).get("type") or frame["chunk"] for _, _, data in seen
    ]
