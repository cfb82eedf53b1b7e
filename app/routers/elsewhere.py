"""Elsewhere: requests for what only another server of the service has, passed on to it as they are.

That is an ephemeral session, whose id says which server made it, a one-shot with an idempotency key, and a connection
of an MCP client of an older protocol (compat/mcp_server/connections.py). Where only the body names the session, the
door looks (doors/passed_on.py). Credentials go along unchanged: the other server looks at them again. Where one server
is alone, nothing of this is there.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Protocol
from urllib.parse import quote

import httpx2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import HectorError, Unavailable, session_not_found
from app.doors.errors import refusal
from app.doors.passed_on import offer
from app.runtime import Runtime
from app.storage.replicas import Replica

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
LOOK_SECONDS = 1.0
"""How often it is looked whether the other server is still one of them."""
PASSED_ON = b"x-hector-passed-on"
"""A request that has this header is not passed on again."""
_SESSION = re.compile(r"/agents/[^/]+/(?:sessions/([A-Za-z0-9._:-]{1,128})(?:/.*)?|ui/([A-Za-z0-9._:-]{1,128})/stream)")
_ONE_SHOT = re.compile(r"/agents/([^/]+)/messages(?:/stream)?")
_MCP, _MCP_CONNECTION = "/mcp", b"mcp-session-id"
_OF_CONNECTION = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade x-forwarded-for".split()
)
_OURS = (b"access-control-", b"date", b"server")
"""Headers that this server adds itself."""


class Places(Protocol):
    """Where things are; see app/cluster/places.py."""

    def of_session(self, session_id: str) -> Replica | None: ...

    def of_key(self, agent: str, key: str) -> Replica | None: ...

    def is_alive(self, replica: Replica) -> bool: ...


class PassingOn:
    """The connections to the other servers, and who is asked."""

    def __init__(self, runtime: Runtime, places: Places) -> None:
        self.places = places
        self.is_stopping = asyncio.Event()
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS)  # a waiting answer takes as long as it takes
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        self.client = httpx2.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
        runtime.on_stop(self.is_stopping.set)

    def replica_of(self, scope: Scope) -> Replica | None:
        """The other server that a request is for."""
        if scope["type"] != "http" or is_passed_on(scope):
            return None
        path: str = scope["path"]
        if (session := _SESSION.fullmatch(path)) is not None:
            return self.places.of_session(session[1] or session[2])
        if path == _MCP:
            connection = next((value for name, value in scope["headers"] if name == _MCP_CONNECTION), None)
            return self.places.of_session(connection.decode("latin-1")) if connection else None
        if scope["method"] == "POST" and (one_shot := _ONE_SHOT.fullmatch(path)) is not None:
            key = next((value for name, value in scope["headers"] if name == b"idempotency-key"), None)
            return self.places.of_key(one_shot[1], key.decode("latin-1")) if key else None
        return None

    async def wait_gone(self, replica: Replica) -> None:
        """Until the other server is dead, or this one stops."""
        while self.places.is_alive(replica) and not self.is_stopping.is_set():
            try:
                await asyncio.wait_for(self.is_stopping.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue

    async def close(self) -> None:
        await self.client.aclose()


def is_passed_on(scope: Scope) -> bool:
    """Whether another server has passed the request on to this one."""
    return any(name == PASSED_ON for name, _ in scope["headers"])


def _again(body: bytes, receive: Receive) -> Receive:
    """The messages of a request whose body was read already."""
    given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return given.pop() if given else await receive()

    return received


class Elsewhere:
    """ASGI between the guard and the application."""

    def __init__(self, app: ASGIApp, *, passing: PassingOn) -> None:
        self._app = app
        self._passing = passing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replica = self._passing.replica_of(scope)
        if replica is not None:
            await self._relay(replica, scope, receive, send)
            return
        if scope["type"] == "http":
            offer(scope, partial(self._of_session, scope))
        await self._app(scope, receive, send)

    def _of_session(self, scope: Scope, session_id: str, body: bytes) -> ASGIApp | None:
        """See `PassOn`."""
        replica = None if is_passed_on(scope) else self._passing.places.of_session(session_id)
        if replica is None:
            return None

        async def relay(scope: Scope, receive: Receive, send: Send) -> None:
            await self._relay(replica, scope, _again(body, receive), send)

        return relay

    async def _relay(self, replica: Replica, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        passing = asyncio.create_task(self._pass_on(replica, scope, receive, watched))
        gone = asyncio.create_task(self._passing.wait_gone(replica))
        await _first_of(passing, gone)
        if not passing.cancelled():
            passing.result()
        elif has_begun:
            await send({"type": "http.response.body", "body": b""})  # a reader comes back by itself
        else:
            await refusal(self._why_gone(scope), scope)(scope, receive, send)

    def _why_gone(self, scope: Scope) -> HectorError:
        if self._passing.is_stopping.is_set():
            return Unavailable("The server is shutting down.", reason="shutting_down")
        session = _SESSION.fullmatch(scope["path"])
        if session is not None:  # it was in the memory of that server only
            return session_not_found(session[1] or session[2])
        return Unavailable("The server that had this is gone; try again in a moment.")

    async def _pass_on(self, replica: Replica, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive)
        request = httpx2.Request(
            scope["method"],
            replica.address.rstrip("/") + _target(scope),
            headers=_headers(scope),
            content=aiter(body) if _has_body(scope) else None,
        )
        try:
            response = await self._passing.client.send(request, stream=True)
        except httpx2.TransportError as error:
            log.info("a request could not be passed on to %s: %s", replica.id, error)
            failed = Unavailable("The server that has this does not answer; try again in a moment.")
            await refusal(failed, scope)(scope, receive, send)
            return
        except _ClientLeft:
            return
        try:
            headers = [(name.lower(), value) for name, value in response.headers.raw if _is_passed_back(name.lower())]
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            left = asyncio.create_task(body.wait_left())
            sending = asyncio.create_task(_send_body(response, send))
            await _first_of(sending, left)
        finally:
            await response.aclose()


class _ClientLeft(Exception):
    """Before its request was complete."""


class _Body:
    """The body of a request as it arrives; afterwards it is known when the client leaves."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def __aiter__(self) -> AsyncIterator[bytes]:
        is_read = False
        while not is_read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _ClientLeft
            is_read = not message.get("more_body", False)
            yield message.get("body", b"")

    async def wait_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _send_body(response: httpx2.Response, send: Send) -> None:
    try:
        async for chunk in response.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except httpx2.TransportError as error:
        log.info("the answer of another server broke off: %s", error)
    await send({"type": "http.response.body", "body": b""})


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    """Until one of them is done; the others are cancelled."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _target(scope: Scope) -> str:
    """The address, with the ticket that the guard has taken out of it."""
    query: str = scope["query_string"].decode("latin-1")
    if "ticket_elsewhere" in scope:
        query += ("&" if query else "") + "ticket=" + quote(scope["ticket_elsewhere"], safe="")
    path = quote(scope["path"], safe="/:@!$&'()*+,;=-._~")
    return f"{path}?{query}" if query else path


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    before = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    client = scope.get("client")
    addresses = [*before, *([client[0].encode()] if client else [])]
    kept = [(name, value) for name, value in scope["headers"] if name not in _OF_CONNECTION]
    return [*kept, (b"x-forwarded-for", b", ".join(addresses)), (PASSED_ON, b"1")]


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def _is_passed_back(name: bytes) -> bool:
    return name not in _OF_CONNECTION and not name.startswith(_OURS)
