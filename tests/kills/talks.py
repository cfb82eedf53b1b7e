"""One client: it sends tasks to a session of its own, one after the other, and reads each over all the kills."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from hector_client._turn_text import BETWEEN_MESSAGES, TurnText
from tests.fixtures.sse import Frame, Stream
from tests.kills.model import Task

PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 120.0


@dataclass(eq=False)
class Reader:
    """What one client was told of one turn."""

    task: Task
    turn_id: str | None = None
    cursor: str | None = None
    said: TurnText = field(default_factory=TurnText)
    called: Counter[str] = field(default_factory=Counter)
    """How often each call was shown."""
    results: dict[str, list[str]] = field(default_factory=dict)
    """The states that were told of each call, in order."""
    ends: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    problems: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def see(self, frame: Frame) -> None:
        if frame.is_done:
            return
        shown, kind = frame.json, frame.type
        self.note(f"{frame.id} {kind}")
        if kind == "reconnect":
            self.cursor = str(shown["after"])
            return
        if frame.id is None or (self.cursor is not None and int(frame.id) <= int(self.cursor)):
            self.problems.append(f"event {frame.id} after event {self.cursor}")
        self.cursor = frame.id
        if kind == "turn_started":
            self.turn_id = self.turn_id or shown["turn_id"]
        if kind in BETWEEN_MESSAGES:
            self.said.end_message()
        if kind == "text":
            self.said.add(frame.chunk)
        elif kind == "snapshot":
            self.said.replace(shown["message_id"], shown["text"])
        elif kind == "tool_call":
            self.called[shown["tool"]["call_id"]] += 1
        elif kind == "tool_result":
            self.results.setdefault(shown["call_id"], []).append(shown["status"])
        elif kind == "turn_finished":
            self.ends.append(shown)

    def note(self, words: str) -> None:
        self.seen.append(words)


class Client:
    """A session, and the readers of its turns. `address`: of a server, asked for each request."""

    def __init__(self, http: httpx.AsyncClient, address: Callable[[], str], session_id: str) -> None:
        self._address = address
        self.session_id = session_id
        self.path = f"/agents/assistant/sessions/{session_id}"
        self.readers: list[Reader] = []
        self._http = http

    async def insist(self, method: str, path: str = "", body: object = None) -> httpx.Response:
        """The answer, however often the server dies meanwhile. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    response = await self._http.request(method, self._address() + self.path + path, json=body)
                    if response.status_code not in (429, 503):
                        return response
                await asyncio.sleep(PAUSE_SECONDS)

    async def begin(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    address = f"{self._address()}/agents/assistant/sessions"
                    made = await self._http.post(address, json={"session_id": self.session_id})
                    if made.status_code in (200, 201):
                        return
                await asyncio.sleep(PAUSE_SECONDS)

    async def talk(self, task: Task) -> None:
        """Send it, and read until its turn is over."""
        reader = Reader(task)
        self.readers.append(reader)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not reader.ends:
                    await self._connect(reader)
        except TimeoutError:
            reader.problems.append("no end: " + " | ".join(reader.seen[-20:]))

    async def _connect(self, reader: Reader) -> None:
        address = f"{self._address()}{self.path}/messages/stream"
        if reader.turn_id is None:
            reader.cursor = None
            headers, body = {"Idempotency-Key": reader.task.name}, {"message": reader.task.message}
            opened = self._http.stream("POST", address, json=body, headers=headers)
        else:
            headers = {"Last-Event-ID": reader.cursor or ""}
            opened = self._http.stream("GET", address + "?until=turn_end", headers=headers)
        with contextlib.suppress(httpx.TransportError):
            async with opened as response:
                if response.status_code != 200:
                    await response.aread()
                    if response.status_code != 503:
                        said = f"{response.status_code} {response.text[:200]}"
                        reader.problems.append(f"a stream answers {said}: {' | '.join(reader.seen[-20:])}")
                else:
                    reader.connections += 1
                    reader.note(f"connected after {reader.cursor}")
                    with contextlib.suppress(AssertionError):  # half a frame: the server died in it
                        async for frame in Stream(response):
                            reader.see(frame)
        if not reader.ends:
            await asyncio.sleep(PAUSE_SECONDS)

    async def pages(self, path: str, name: str, parameter: str, following: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: int | None = None
        while True:
            query = "?limit=200" + (f"&{parameter}={cursor}" if cursor is not None else "")
            page = (await self.insist("GET", path + query)).json()
            found = page[name] + found if parameter == "before" else found + page[name]
            if page.get(following) is None or not page[name] or page[following] == cursor:
                return found
            cursor = page[following]

    async def calls(self, turn_id: str | None = None, state: str | None = None) -> list[dict[str, Any]]:
        query = "?limit=200" + (f"&turn_id={turn_id}" if turn_id else "") + (f"&state={state}" if state else "")
        return list((await self.insist("GET", f"/calls{query}")).json()["calls"])
