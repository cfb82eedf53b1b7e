"""The HTTP client of the command line: the addresses of the API over whatever connection it is given."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2

from app.cli.failures import Refused, Unreachable
from app.cli.sse import Frame, Parser

PAGE = 200
"""Items the API gives at most at once."""


class Lost(Exception):
    """The connection failed or broke: what was asked may or may not have happened."""


class Client:
    """Raises Refused for what the server refuses, Unreachable when it does not answer."""

    def __init__(self, http: httpx2.AsyncClient, place: str) -> None:
        self.place = place
        """Where the answers come from, for people."""
        self._http = http

    async def agents(self) -> list[dict[str, Any]]:
        return list((await self._ask("GET", "/agents"))["agents"])

    async def agent(self, name: str) -> dict[str, Any]:
        """Raises Refused (`agent_not_found`), naming the agents there are."""
        try:
            return dict(await self._ask("GET", _path("agents", name)))
        except Refused as refusal:
            if refusal.reason == "agent_not_found":
                known = ", ".join([str(agent["agent"]) for agent in await self.agents()])
                refusal.message = f"There is no agent {name!r} here, but: {known or 'none'}."
            raise

    async def sessions(
        self, agent: str, *, limit: int, status: str | None = None, order: str = "activity"
    ) -> tuple[list[dict[str, Any]], str | None]:
        """At most `limit` sessions, and the cursor of the next one."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < limit:
            query = {"limit": str(min(limit - len(found), PAGE)), "order": order}
            query |= {name: value for name, value in (("status", status), ("cursor", cursor)) if value is not None}
            page = await self._ask("GET", _path("agents", agent, "sessions"), query=query)
            found += page["sessions"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return found, cursor

    async def create_session(self, agent: str, session_id: str | None = None) -> tuple[dict[str, Any], bool]:
        """The session, and whether it is new. With an id of one's own, again is the same session."""
        body = {"session_id": session_id} if session_id is not None else {}
        response = await self._request("POST", _path("agents", agent, "sessions"), body=body)
        return dict(response.json()), response.status_code == 201

    async def session(self, agent: str, session_id: str) -> dict[str, Any]:
        return dict(await self._ask("GET", _path("agents", agent, "sessions", session_id)))

    async def messages(self, agent: str, session_id: str, *, limit: int) -> list[dict[str, Any]]:
        """The newest `limit` messages (at most a page), oldest first."""
        query = {"limit": str(min(limit, PAGE))}
        return list(
            (await self._ask("GET", _path("agents", agent, "sessions", session_id, "messages"), query=query))[
                "messages"
            ]
        )

    async def turn(self, agent: str, session_id: str, turn_id: str) -> dict[str, Any]:
        return dict(await self._ask("GET", _path("agents", agent, "sessions", session_id, "turns", turn_id)))

    async def send(self, agent: str, session_id: str | None, message: str, *, key: str) -> dict[str, Any]:
        """The answer as the API gives it; without a session, from a one-shot. Waits for the end of the turn."""
        body = {"message": message}
        return dict(await self._ask("POST", _messages(agent, session_id), body=body, key=key, patient=True))

    async def cancel(self, agent: str, session_id: str, turn_id: str | None) -> dict[str, Any] | None:
        body = {"turn_id": turn_id} if turn_id is not None else {}
        found = await self._ask("POST", _path("agents", agent, "sessions", session_id, "cancel"), body=body)
        return found if isinstance(found, dict) else None

    async def end(self, agent: str, session_id: str) -> dict[str, Any]:
        return dict(await self._ask("POST", _path("agents", agent, "sessions", session_id, "end"), body={}))

    async def terminate(self, agent: str, session_id: str) -> dict[str, Any]:
        """The stop receipt."""
        return dict(await self._ask("DELETE", _path("agents", agent, "sessions", session_id)))

    async def stores(self) -> list[dict[str, Any]]:
        return list((await self._ask("GET", "/document_stores"))["document_stores"])

    async def documents(self, store: str, *, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """At most `limit` documents of a store, and the cursor of the next one."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < limit:
            query = {"limit": str(min(limit - len(found), PAGE))} | ({"cursor": cursor} if cursor else {})
            page = await self._ask("GET", _path("document_stores", store, "documents"), query=query)
            found += page["documents"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return found, cursor

    async def search_documents(self, store: str | None, query: str, *, limit: int) -> dict[str, Any]:
        path = _path("document_stores", *([] if store is None else [store]), "search")
        return dict(await self._ask("POST", path, body={"query": query, "limit": limit}))

    async def reindex(self, store: str, *, again: bool) -> dict[str, Any]:
        path = _path("document_stores", store, "reindex")
        return dict(await self._ask("POST", path, body={"again": again}))

    # -- memories -------------------------------------------------------------------------------

    def act_for(self, user: str | None) -> None:
        """Whatever follows is on behalf of this user."""
        if user is not None:
            self._http.headers["X-User-Id"] = user

    async def memories(
        self, agent: str, *, limit: int, session: str | None = None, kind: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """At most `limit` memories, newest first, and the cursor of the next one."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < limit:
            query = {"limit": str(min(limit - len(found), PAGE)), "session_id": session, "kind": kind, "cursor": cursor}
            page = await self._ask("GET", _path("agents", agent, "memories"), query=_given(query))
            found += page["memories"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return found, cursor

    async def search_memories(
        self, agent: str, query: str, *, limit: int, session: str | None = None, scope: str | None = None
    ) -> dict[str, Any]:
        body = {"query": query, "limit": limit, **_given({"session_id": session, "scope": scope})}
        return dict(await self._ask("POST", _path("agents", agent, "memories", "search"), body=body))

    async def memory(self, agent: str, memory_id: str) -> dict[str, Any]:
        return dict(await self._ask("GET", _path("agents", agent, "memories", memory_id)))

    async def add_memory(self, agent: str, **memory: Any) -> dict[str, Any]:
        return dict(await self._ask("POST", _path("agents", agent, "memories"), body=_given(memory)))

    async def change_memory(self, agent: str, memory_id: str, **change: Any) -> dict[str, Any]:
        return dict(await self._ask("PATCH", _path("agents", agent, "memories", memory_id), body=change))

    async def delete_memory(self, agent: str, memory_id: str) -> dict[str, Any]:
        return dict(await self._ask("DELETE", _path("agents", agent, "memories", memory_id)))

    async def export_memories(self, agent: str, *, session: str | None = None) -> AsyncIterator[bytes]:
        """JSON Lines, as they come. Raises Unreachable in the middle, too."""
        path = _path("agents", agent, "memories", "export")
        try:
            async with self._http.stream("GET", path, params=_given({"session_id": session})) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise Refused(response.status_code, _json(response))
                async for received in response.aiter_bytes():
                    yield received
        except httpx2.TransportError as error:
            raise Unreachable(f"No answer from {self.place}: {_words(error)}.") from error

    async def import_memories(self, agent: str, lines: bytes) -> dict[str, Any]:
        return dict(await self._ask("POST", _path("agents", agent, "memories", "import"), content=lines, patient=True))

    async def embed_memories(self, agent: str, *, again: bool) -> dict[str, Any]:
        body = {"again": again}
        return dict(await self._ask("POST", _path("agents", agent, "memories", "reindex"), body=body))

    async def forget(self, agent: str, **wish: str | None) -> dict[str, Any]:
        """The receipt; it may take long."""
        return dict(await self._ask("POST", _path("agents", agent, "forget"), body=_given(wish), patient=True))

    async def greet(self) -> None:
        """Raises Unreachable unless somebody answers, whatever he says."""
        try:
            await self._http.get("/health")
        except httpx2.TransportError as error:
            raise Unreachable(f"There is no server at {self.place}: {_words(error)}.") from error

    async def is_ready(self) -> bool:
        try:
            return (await self._http.get("/ready")).status_code == 200
        except httpx2.TransportError:
            return False

    @asynccontextmanager
    async def post_stream(
        self, agent: str, session_id: str | None, message: str, *, key: str
    ) -> AsyncIterator[tuple[Parser, AsyncIterator[Frame]]]:
        path = _messages(agent, session_id) + "/stream"
        async with self._stream("POST", path, {"Idempotency-Key": key}, {}, {"message": message}) as opened:
            yield opened

    @asynccontextmanager
    async def get_stream(
        self, agent: str, session_id: str, *, cursor: str | None
    ) -> AsyncIterator[tuple[Parser, AsyncIterator[Frame]]]:
        """What comes after `cursor` (without one: the open turn) to the end of the open turn; maybe nothing."""
        headers = {"Last-Event-ID": cursor} if cursor is not None else {}
        path = _messages(agent, session_id) + "/stream"
        async with self._stream("GET", path, headers, {"until": "turn_end"}, None) as opened:
            yield opened

    @asynccontextmanager
    async def _stream(
        self, method: str, path: str, headers: dict[str, str], query: dict[str, str], body: dict[str, Any] | None
    ) -> AsyncIterator[tuple[Parser, AsyncIterator[Frame]]]:
        """Raises Lost, also while it is read."""
        try:
            async with self._http.stream(method, path, headers=headers, params=query, json=body) as response:
                if response.status_code not in (200, 204):
                    await response.aread()
                    raise Refused(response.status_code, _json(response))
                parser = Parser()
                yield parser, _frames(response, parser)
        except httpx2.TransportError as error:
            raise Lost(_words(error)) from error

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        content: bytes | None = None,
        key: str | None = None,
        patient: bool = False,
    ) -> Any:
        response = await self._request(method, path, query=query, body=body, content=content, key=key, patient=patient)
        return response.json()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        content: bytes | None = None,
        key: str | None = None,
        patient: bool = False,
    ) -> httpx2.Response:
        headers = {"Idempotency-Key": key} if key is not None else {}
        timeout = httpx2.Timeout(CONNECT_SECONDS, read=None) if patient else httpx2.USE_CLIENT_DEFAULT
        try:
            response = await self._http.request(
                method, path, params=query, json=body, content=content, headers=headers, timeout=timeout
            )
        except httpx2.TransportError as error:
            raise Unreachable(f"No answer from {self.place}: {_words(error)}.") from error
        found = _json(response)
        if not response.is_success or found is _NOT_JSON:
            raise Refused(response.status_code, found)
        return response


CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 45.0
"""A stream says something every 15 s: three times that is a dead connection."""

_NOT_JSON = object()


async def _frames(response: httpx2.Response, parser: Parser) -> AsyncIterator[Frame]:
    async for received in response.aiter_bytes():
        for frame in parser.feed(received):
            yield frame


def open_http(
    base_url: str, *, token: str | None, transport: httpx2.AsyncBaseTransport | None = None, trust_env: bool = True
) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=base_url,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=httpx2.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS),
        transport=transport,
        trust_env=trust_env,
        follow_redirects=False,
    )


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _path(*parts: str) -> str:
    return "".join([f"/{quote(part, safe='')}" for part in parts])


def _messages(agent: str, session_id: str | None) -> str:
    if session_id is None:
        return _path("agents", agent, "messages")
    return _path("agents", agent, "sessions", session_id, "messages")


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return _NOT_JSON


def _words(error: Exception) -> str:
    """The failure in a few words, without addresses of objects or an empty string."""
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno:
                return os.strerror(cause.errno).lower()
            cause = cause.__cause__ or cause.__context__
        return str(error).lower() or "cannot connect"
    if isinstance(error, httpx2.ReadTimeout):
        return "it is silent"
    return "the connection broke"
