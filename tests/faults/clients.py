"""Clients as there are in the world: they send, stream, come back after a cut, leave, wait, cancel, end, terminate."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import Any

import httpx

from tests.faults.talks import Reader, Talked
from tests.fixtures.sse import Stream

PATIENCE_SECONDS = 90.0
"""How long a client tries before its message counts as stuck."""
PAUSE_SECONDS = 0.05


class Clients:
    """All clients of a run. `problems`: what no server may do, with the words of the request."""

    def __init__(self, random: Random) -> None:
        self.base_url = ""
        self.problems: list[str] = []
        self.requests = 0
        self.talks: list[Talked] = []
        self._random = random
        self._number = 0
        self._connections: set[asyncio.Task[Any]] = set()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(15, connect=5), limits=limits, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    def cut(self) -> int:
        """Break every connection that a client has open for a stream."""
        for task in list(self._connections):
            task.cancel()
        return len(self._connections)

    # -- requests -------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response | None:
        """The answer, or nothing where the connection broke and it is not known what became of the request."""
        self.requests += 1
        try:
            response = await self._http.request(method, self.base_url + path, json=body, headers=headers)
        except httpx.TransportError:
            await asyncio.sleep(PAUSE_SECONDS)
            return None
        self._judge(method, path, response)
        return response

    async def insist(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """The same until there is an answer other than 503 and 429."""
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while response is None or response.status_code in (429, 503):
                    response = await self.ask(method, path, body, **headers)
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            told = f"{response.status_code} {response.text[:300]}" if response is not None else "nothing"
            raise AssertionError(f"{method} {path} has no answer: {told}") from None
        return response

    def _judge(self, method: str, path: str, response: httpx.Response) -> None:
        status = response.status_code
        if status < 500:
            return
        words = response.text[:300]
        told = reason_of(response)
        if status == 503 and "retry-after" not in response.headers:
            self.problems.append(f"503 without Retry-After: {method} {path}: {words}")
        if status not in (502, 503, 504) or (status != 503 and told not in ("llm_error", "llm_timeout")):
            self.problems.append(f"{status}: {method} {path}: {words}")

    # -- what one client does -------------------------------------------------------------------

    async def begin(self) -> Talked:
        self._number += 1
        talk = Talked(f"s{self._number}")
        made = await self.insist("POST", "/agents/assistant/sessions", {"session_id": talk.session_id})
        if made.status_code not in (200, 201):
            self.problems.append(f"no session: {made.status_code} {made.text[:200]}")
        self.talks.append(talk)
        return talk

    async def act(self, talk: Talked) -> None:
        """One thing that a client may do."""
        chance = self._random.random()
        if not talk.takes_messages or chance < 0.05:
            await self.ask("GET", self._random.choice([talk.path, f"{talk.path}/messages", f"{talk.path}/events"]))
        elif chance < 0.50:
            await self.stream(talk, leaves=False)
        elif chance < 0.62:
            await self.stream(talk, leaves=True)
        elif chance < 0.75:
            await self.wait(talk)
        elif chance < 0.85:
            await self.ask("POST", f"{talk.path}/cancel", self._random.choice([None, {"all": True}]))
        elif chance < 0.95:
            await self.terminate(talk)
        else:
            ended = await self.ask("POST", f"{talk.path}/end")
            talk.is_ended = True  # also where that is not known: nothing more is sent
            if ended is not None and ended.status_code == 410:
                talk.is_dead = True

    def message(self) -> str:
        self._number += 1
        return f"message {self._number}"

    async def terminate(self, talk: Talked) -> None:
        talk.is_doubtful = True
        response = await self.ask("DELETE", talk.path)
        if response is not None and response.status_code in (200, 410):
            talk.is_dead = True

    async def wait(self, talk: Talked) -> None:
        """A message by a request that waits; repeated with its key until it is known what became of it."""
        message = self.message()
        body = {"message": message, "on_busy": self._random.choice(["queue", "replace"])}
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while response is None or not self._take_answer(talk, message, response):
                    response = await self.ask("POST", f"{talk.path}/messages", body, **{"Idempotency-Key": message})
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            told = f"{response.status_code} {response.text[:300]}" if response is not None else "nothing"
            self.problems.append(f"{talk.session_id}: {message!r} has no answer: {told}")

    def _take_answer(self, talk: Talked, message: str, response: httpx.Response) -> bool:
        """Whether the answer says what became of the message."""
        said = response.json()
        if response.status_code == 200:
            talk.accepted[message] = said["turn_id"]
            talk.answers[said["turn_id"]] = said["response"]
            return True
        details, told = said["error"]["details"], reason_of(response)
        if response.status_code in (404, 410):
            talk.is_dead = talk.is_dead or told == "session_terminated"
            return True
        if "message_id" in details:  # the turn is over; a server that stops while it runs does not say that
            talk.accepted[message] = details["turn_id"]
            return True
        return response.status_code == 409

    async def stream(self, talk: Talked, *, leaves: bool) -> None:
        """A message by a stream; a client that was cut comes back with what it saw last."""
        reader = Reader(self.message())
        talk.readers.append(reader)
        left_after = self._random.randrange(1, 15) if leaves else None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not reader.is_over:
                    await self._connect(talk, reader, left_after)
        except TimeoutError:
            self.problems.append(f"{talk.session_id}: {reader.message!r} ({reader.turn_id}) has no end")
        if reader.turn_id is not None:
            talk.accepted[reader.message] = reader.turn_id

    async def _connect(self, talk: Talked, reader: Reader, left_after: int | None) -> None:
        reading = asyncio.ensure_future(self._read(talk, reader, left_after))
        self._connections.add(reading)
        try:
            await asyncio.wait({reading})
        finally:
            self._connections.discard(reading)
            reading.cancel()
        if not reading.cancelled():
            reading.result()
        if not reader.is_over:
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, talk: Talked, reader: Reader, left_after: int | None) -> None:
        self.requests += 1
        address = f"{self.base_url}{talk.path}/messages/stream"
        if reader.turn_id is None:
            body, headers = {"message": reader.message}, {"Idempotency-Key": reader.message}
            reader.note("POST")
            opened = self._http.stream("POST", address, json=body, headers=headers)
            reader.cursor = None
        else:
            headers = {"Last-Event-ID": reader.cursor or ""}
            reader.note(f"GET after {reader.cursor}")
            opened = self._http.stream("GET", address + "?until=turn_end", headers=headers)
        with contextlib.suppress(httpx.TransportError):
            async with opened as response:
                if response.status_code != 200:
                    await response.aread()
                    self._refused(talk, reader, response)
                    return
                stream, seen = Stream(response), 0
                with contextlib.suppress(AssertionError):  # half a frame: the connection was cut in it
                    async for frame in stream:
                        reader.see(frame)
                        seen += frame.type == "text"
                        if frame.type == "session_terminated":
                            reader.is_refused = talk.is_doubtful = True
                        if left_after is not None and seen >= left_after:
                            reader.has_left = True
                            return

    def _refused(self, talk: Talked, reader: Reader, response: httpx.Response) -> None:
        self._judge(response.request.method, response.request.url.path, response)
        if response.status_code == 204:
            seen = " | ".join(reader.seen)
            self.problems.append(
                f"{talk.session_id}: nothing is left for {reader.turn_id} after {reader.cursor}: {seen}"
            )
            reader.is_refused = True
        elif response.status_code in (404, 409, 410):
            reader.is_refused = True
            talk.is_dead = talk.is_dead or reason_of(response) == "session_terminated"


def reason_of(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["reason"])
    except (ValueError, KeyError, TypeError):
        return ""
