"""Reads streams with three libraries: python sse.py '{"name": {"method": …, "url": …, "body": …, "last": …}, …}'.

Prints {"library": {"name": [[id, event, data], …]}}, each stream up to its end mark.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import httpx_sse
import sseclient
from aiohttp_sse_client2.client import EventSource

Seen = list[Any]


async def by_httpx_sse(stream: dict[str, Any]) -> AsyncIterator[Seen]:
    async with (
        httpx.AsyncClient(timeout=20, trust_env=False) as client,
        httpx_sse.aconnect_sse(client, stream["method"], stream["url"], **given(stream)) as source,
    ):
        async for event in source.aiter_sse():
            yield [event.id, event.event, event.data]


async def by_sseclient(stream: dict[str, Any]) -> AsyncIterator[Seen]:
    def read() -> list[Seen]:
        found = []
        with (
            httpx.Client(timeout=20, trust_env=False) as client,
            client.stream(stream["method"], stream["url"], **given(stream)) as response,
        ):
            for event in sseclient.SSEClient(response.iter_bytes()).events():
                found.append([event.id, event.event, event.data])
                if event.data == "[DONE]":
                    break
        return found

    for seen in await asyncio.to_thread(read):
        yield seen


async def by_aiohttp(stream: dict[str, Any]) -> AsyncIterator[Seen]:
    async with EventSource(stream["url"], option={"method": stream["method"]}, **given(stream)) as source:
        async for event in source:
            yield [event.last_event_id, event.type, event.data]


def given(stream: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if stream.get("body") is not None:
        found["json"] = stream["body"]
    if stream.get("last") is not None:
        found["headers"] = {"Last-Event-ID": stream["last"]}
    return found


async def until_done(seen: AsyncIterator[Seen]) -> list[Seen]:
    found = []
    async for each in seen:
        found.append(each)
        if each[2] == "[DONE]":
            break
    return found


LIBRARIES: dict[str, Callable[[dict[str, Any]], AsyncIterator[Seen]]] = {
    "httpx-sse": by_httpx_sse,
    "sseclient-py": by_sseclient,
    "aiohttp-sse-client2": by_aiohttp,
}


async def main(streams: dict[str, dict[str, dict[str, Any]]]) -> None:
    wanted = [(library, name, stream) for library in LIBRARIES for name, stream in streams[library].items()]
    found = await asyncio.gather(*[until_done(LIBRARIES[library](stream)) for library, _, stream in wanted])
    shown: dict[str, dict[str, list[Seen]]] = {library: {} for library in LIBRARIES}
    for (library, name, _), seen in zip(wanted, found, strict=True):
        shown[library][name] = seen
    print(json.dumps(shown))


asyncio.run(main(json.loads(sys.argv[1])))
