"""Streams that meet trouble: slow readers, a terminate, a shutdown, a crash; and agents that pace their text."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compat.front_ends.conftest import WORDS, settings
from tests.compat.front_ends.wire import assembled, chat, run_input, stream_all
from tests.fixtures.eventually import eventually
from tests.fixtures.server import HectorServer
from tests.fixtures.sse import open_stream
from tests.fixtures.talk import Talk, good

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = " ".join([f"word{number}" for number in range(15_000)])
DOORS = ["agui", "ui"]


def body(door: str, text: str, session: str) -> dict[str, Any]:
    return run_input(text, thread=session) if door == "agui" else chat(text, session=session)


def deltas(events: list[dict[str, Any]]) -> list[str]:
    kinds = ("TEXT_MESSAGE_CONTENT", "text-delta")
    return [event["delta"] for event in events if event["type"] in kinds]


def with_agents() -> dict[str, Any]:
    """Agents that say much, pace what they say, and go on after a crash."""
    found = settings()
    found["llms"]["talker"] = {"type": "scripted", "script": [{"text": LONG}]}
    found["llms"]["slow"] = {"type": "scripted", "script": [{"text": WORDS, "delay_ms": 40}]}
    found["agents"] |= {
        "talker": {"llm": "talker"},
        "paced": {"llm": "counter", "streaming": {"chunk_size": 100, "delay_ms": 1}},
        "whole": {"llm": "counter", "reasoning": {"enable_streaming": False}},
        "lasting": {"llm": "slow", "reasoning": {"on_crash": "resume"}},
        "slow": {"llm": "slow"},
    }
    return found


async def test_readers_in_trouble(tmp_path: Path) -> None:
    """One server, one after the other: a reader that does not read, agents that pace, a crash, a shutdown."""
    server = HectorServer(tmp_path, with_agents())
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, timeout=20) as client:
            for door in DOORS:
                await a_reader_that_does_not_read_gets_all_of_it(client, door)
                await an_agents_pace_is_kept(client, door)
                await a_terminate_ends_the_stream(client, door)
            await a_crash_takes_back_what_was_not_stored(client, server)
            await a_shutdown_tells_readers_to_come_back(client, server)
    finally:
        await server.close()


async def a_reader_that_does_not_read_gets_all_of_it(client: httpx.AsyncClient, door: str) -> None:
    talk = Talk(client, f"slow-reader-{door}", agent="talker")

    async def is_over() -> bool:
        return bool((await talk.messages())[-1]["status"] == "completed")

    async with open_stream(
        client, "POST", f"/agents/talker/{door}", json=body(door, "Go", f"slow-reader-{door}")
    ) as stream:
        await anext(stream)
        await eventually(is_over)
        frames = [frame.json for frame in await stream.rest() if not frame.is_done]
    assert "".join(deltas(frames)) == LONG
    assert len(deltas(frames)) < 7_500  # merged while it did not read


async def an_agents_pace_is_kept(client: httpx.AsyncClient, door: str) -> None:
    paced = await stream_all(client, f"/agents/paced/{door}", body(door, "Count", f"paced-{door}"))
    assert "".join(deltas(paced)) == WORDS
    assert max(map(len, deltas(paced))) <= 100
    whole = await stream_all(client, f"/agents/whole/{door}", body(door, "Count", f"whole-{door}"))
    assert deltas(whole) == [WORDS]


async def a_terminate_ends_the_stream(client: httpx.AsyncClient, door: str) -> None:
    async with open_stream(client, "POST", f"/agents/slow/{door}", json=body(door, "Count", f"ended-{door}")) as stream:
        async for frame in stream:
            if deltas([frame.json]):
                break
        await client.delete(f"/agents/slow/sessions/ended-{door}")
        last = [frame.json for frame in await stream.rest() if not frame.is_done][-1]
    if door == "agui":
        assert (last["type"], last["outcome"]) == ("RUN_FINISHED", {"type": "cancelled"})
    else:
        assert last == {"type": "abort", "reason": "session_terminated"}


async def read_until_it_dies(client: httpx.AsyncClient, path: str, asked: dict[str, Any], seen: asyncio.Event) -> None:
    with contextlib.suppress(httpx.HTTPError):
        async with open_stream(client, "POST", path, json=asked) as stream:
            async for frame in stream:
                if "word20" in "".join(deltas([frame.json])):
                    seen.set()


async def a_crash_takes_back_what_was_not_stored(client: httpx.AsyncClient, server: HectorServer) -> None:
    """A turn that goes on is answered anew; of one that does not, the text stands that was stored."""
    asked = {
        f"{agent}-{door}": (f"/agents/{agent}/{door}", body(door, "Count", f"{agent}-{door}"))
        for agent in ("lasting", "slow")
        for door in DOORS
    }
    seen = [asyncio.Event() for _ in asked]
    pairs = zip(asked.values(), seen, strict=True)
    reading = [asyncio.create_task(read_until_it_dies(client, *request, event)) for request, event in pairs]
    await asyncio.gather(*[event.wait() for event in seen])
    await server.kill()
    await asyncio.gather(*reading)
    await server.start()

    # The same requests once more.
    answers = await asyncio.gather(*[stream_all(client, *request) for request in asked.values()])
    again = dict(zip(asked, answers, strict=True))

    assert "".join(deltas(again["lasting-agui"])) == WORDS
    assert assembled(again["lasting-ui"]) == [WORDS]
    for door in DOORS:
        assert (await Talk(client, f"lasting-{door}", agent="lasting").texts())[-1] == WORDS
    kept = {door: (await Talk(client, f"slow-{door}", agent="slow").texts())[-1] for door in DOORS}
    assert all(0 < len(text) < len(WORDS) for text in kept.values())
    (snapshot,) = [event for event in again["slow-agui"] if event["type"] == "MESSAGES_SNAPSHOT"]
    assert [message["content"] for message in snapshot["messages"]] == ["Count", kept["agui"]]
    assert (again["slow-agui"][-1]["type"], again["slow-agui"][-1]["code"]) == ("RUN_ERROR", "crash")
    assert [chunk["type"] for chunk in again["slow-ui"]].count("reset-step") == 1
    assert assembled(again["slow-ui"]) == [kept["ui"]]
    assert again["slow-ui"][-1]["type"] == "error"


async def last_of_a_stream(client: httpx.AsyncClient, door: str, session: str, seen: asyncio.Event) -> dict[str, Any]:
    async with open_stream(client, "POST", f"/agents/slow/{door}", json=body(door, "Count", session)) as stream:
        async for frame in stream:
            if not frame.is_done and deltas([frame.json]):
                seen.set()
        return [frame.json for frame in stream.frames if not frame.is_done][-1]


async def a_shutdown_tells_readers_to_come_back(client: httpx.AsyncClient, server: HectorServer) -> None:
    seen = [asyncio.Event() for _ in DOORS]
    reading = [
        asyncio.create_task(last_of_a_stream(client, door, f"stopping-{door}", event))
        for door, event in zip(DOORS, seen, strict=True)
    ]
    await asyncio.gather(*[event.wait() for event in seen])
    server.ask_to_stop()
    agui, ui = await asyncio.gather(*reading)
    await server.ended()
    assert (agui["type"], agui["code"]) == ("RUN_ERROR", "shutting_down")
    assert ui["type"] == "error"
    assert "restarting" in ui["errorText"]


async def test_a_reader_that_leaves_is_given_the_grace(client: httpx.AsyncClient) -> None:
    async with open_stream(client, "POST", "/agents/assistant/ui", json=chat("Count", session="grace")) as stream:
        await anext(stream)
    assert assembled(await stream_all(client, "/agents/assistant/ui/grace/stream")) == [WORDS]
    head = await client.head("/agents/assistant/ui/grace/stream")
    assert (head.status_code, head.content) == (204, b"")
    assert good(await client.get("/agents/assistant/sessions/grace"))["turn"] is None
