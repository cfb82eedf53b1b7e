"""`http_request`: a request to a host of the allow-list; never to private networks, unless they are listed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from app.domain.act import ToolClass
from app.domain.label import Reach
from app.observability import neutral
from app.tools.addresses import AllowedHosts, PrivatePlaces, Resolve, checked_addresses, read_url, system_resolver
from app.tools.base import ToolContext, ToolFailed, ToolResult, ToolSpec, ToolStopped, ToolUnknown
from app.tools.http_body import decode, is_text
from app.tools.http_exchange import Answer, Exchange
from app.tools.http_message import METHODS, READING, REDIRECTS, Request, read_body, read_headers, redirected
from app.tools.mistakes import cut
from app.tools.page_text import page_text
from app.tools.stopping import unless_stopped
from app.tools.threads import Threads

_LONG = 20_000
"""Characters from which on a page is reduced in a thread."""

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "method": {"type": "string", "enum": list(METHODS)},
        "url": {"type": "string", "minLength": 1, "maxLength": 8_000},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 50},
        "body": {
            "type": ["string", "object", "array"],
            "description": "Text, or a value that is sent as JSON.",
        },
    },
    "required": ["method", "url"],
    "additionalProperties": False,
}


class HttpRequest:
    """Requests to hosts that the configuration lists.

    `allowed_hosts`: see AllowedHosts. `allow_private`: networks (`10.1.0.0/16`) and hosts (`localhost`) that may be
    reached although they are not public. `headers` are sent with every request; a model cannot change them. `max_bytes`
    is the size of an answer and of a request. Proxies of the environment are not used.

    Raises:
        ValueError: an entry cannot be read, or headers would be sent to any host.
    """

    def __init__(
        self,
        *,
        allowed_hosts: Sequence[str],
        allow_private: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 30.0,
        max_bytes: int = 1_048_576,
        max_redirects: int = 5,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        self._hosts = AllowedHosts(allowed_hosts)
        self._private = PrivatePlaces(allow_private)
        self._headers = {name.lower(): value for name, value in (headers or {}).items()}
        if self._headers and self._hosts.takes_any:
            raise ValueError("headers are not sent to any host: list the hosts instead of `*`")
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._max_redirects = max_redirects
        self._resolve = resolve or system_resolver(Threads())
        self._tls = tls
        reach: Reach = "open" if self._hosts.takes_any else "fixed"
        hosts = "any public host" if self._hosts.takes_any else ", ".join(self._hosts.entries) or "no host"
        told = f"Make an HTTP request. Allowed: {cut(hosts, 500)}. Pages are given as text."
        self.spec = ToolSpec("http_request", told, PARAMETERS, ToolClass.ONCE, reads=reach, sends=reach)

    def class_of(self, arguments: Mapping[str, Any]) -> ToolClass:
        """What a call is: GET and HEAD change nothing."""
        return ToolClass.READ if arguments.get("method") in READING else ToolClass.ONCE

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        trip = _Trip(self._request(arguments, context))
        try:
            answer = await unless_stopped(self._travel(trip), context.stop)
        except ToolStopped:
            if not trip.may_have_acted:
                raise
            return await self._failed(trip, ToolFailed("the call was stopped"))
        except (ToolFailed, aiohttp.ClientError, OSError) as exc:
            return await self._failed(trip, exc)
        return await self._told(trip, answer)

    def _request(self, arguments: dict[str, Any], context: ToolContext) -> Request:
        method: str = arguments["method"]
        headers = read_headers(arguments.get("headers", {}), fixed=self._headers)
        body, media_type = read_body(arguments.get("body"))
        if body is not None:
            if method in READING:
                raise ToolFailed(f"A {method} has no body; put its content into the URL, or use POST.")
            if len(body) > self._max_bytes:
                raise ToolFailed(f"The body is larger than {self._max_bytes:,} bytes.")
            headers.setdefault("content-type", media_type)
        if method not in READING and context.idempotency_key:
            headers["idempotency-key"] = context.idempotency_key
        return Request(method, read_url(arguments["url"]), headers, body)

    async def _travel(self, trip: _Trip) -> Answer:
        """Send the request, and follow where the answer leads to."""
        async with asyncio.timeout(self._timeout_seconds):
            for _ in range(self._max_redirects + 1):
                answer = await self._exchange(trip)
                location = answer.headers.get("location")
                if answer.status not in REDIRECTS or not location:
                    return answer
                trip.leave(answer)
                trip.request = redirected(trip.request, answer.status, location)
        raise ToolFailed(f"There were more than {self._max_redirects} redirects.")

    async def _exchange(self, trip: _Trip) -> Answer:
        request = trip.request
        if not self._hosts.has(request.target):
            allowed = ", ".join(self._hosts.entries) or "none"
            raise ToolFailed(f"{cut(request.target.place, 100)} is not allowed. Allowed are: {cut(allowed, 500)}.")
        addresses = await checked_addresses(request.target, resolve=self._resolve, private=self._private)
        trip.exchange = Exchange(request.method, request.target, addresses, request.headers, request.body)
        return await trip.exchange.carry_out(max_bytes=self._max_bytes, tls=self._tls)

    async def _failed(self, trip: _Trip, exc: Exception) -> ToolResult:
        """What to tell of a request that did not get its answer, or not all of it."""
        answer = trip.partial_answer()
        if answer is not None:
            return await self._told(trip, answer)
        why = f"no answer came within {self._timeout_seconds:g} s" if isinstance(exc, TimeoutError) else _reason(exc)
        if trip.is_in_doubt:
            raise ToolUnknown(trip.doubt(why)) from exc
        if trip.happened:
            return ToolResult(f"{trip.happened} Following it failed: {why}", is_error=True)
        raise ToolFailed(why if isinstance(exc, ToolFailed) else f"The request failed: {why}") from exc

    async def _told(self, trip: _Trip, answer: Answer) -> ToolResult:
        media_type = cut(answer.content_type, 100) or "no content type"
        head = f"{answer.status} {cut(answer.reason, 60)} · {media_type} · {len(answer.body):,} bytes"
        lines = [head]
        if trip.is_redirected:
            lines.append(f"from {trip.request.target.url}")
        if trip.request.method == "HEAD":
            lines += [f"{cut(name, 100)}: {cut(value, 500)}" for name, value in list(answer.headers.items())[:50]]
        elif answer.body:
            lines += ["", await self._text(answer)]
        if answer.end != "whole":
            lines += ["", f"({_ENDS.get(answer.end, f'The body is {answer.end}, so it cannot be read.')})"]
        return ToolResult("\n".join(lines), shown=head, is_error=answer.status >= 400)

    async def _text(self, answer: Answer) -> str:
        if not is_text(answer.content_type):
            return "(This is no text, so it is not shown.)"
        text = decode(answer.body, answer.content_type)
        if "html" not in answer.content_type.lower():
            return neutral.clean(text)
        return neutral.clean(page_text(text) if len(text) < _LONG else await asyncio.to_thread(page_text, text))


_ENDS = {
    "size": "It is larger; the rest is left out.",
    "lost": "The connection broke off; the rest is missing.",
    "time": "The rest did not come in time.",
}


@dataclass(slots=True)
class _Trip:
    """How far a call has come: its present request, and what happened on the way to it."""

    request: Request
    exchange: Exchange | None = None
    happened: str = ""
    """A sentence on a request that changed something, and was answered with a redirect."""
    is_redirected: bool = False

    def leave(self, answer: Answer) -> None:
        """The present request is done; its answer leads elsewhere."""
        if self.request.method not in READING:
            self.happened = f"{self.name} was answered: {answer.status} {cut(answer.reason, 60)}."
        self.exchange, self.is_redirected = None, True

    @property
    def name(self) -> str:
        return f"{self.request.method} {cut(self.request.target.url, 200)}"

    @property
    def may_have_acted(self) -> bool:
        """Whether a request that changes something may have arrived."""
        was_sent = self.exchange is not None and self.exchange.was_sent
        return bool(self.happened) or (was_sent and self.request.method not in READING)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the present request may have had its effect, and nobody said so."""
        was_sent = self.exchange is not None and self.exchange.was_sent
        return was_sent and self.request.method not in READING and self.partial_answer() is None

    def doubt(self, why: str) -> str:
        return f"{self.name} was sent, but {why}: it may have had its effect."

    def partial_answer(self) -> Answer | None:
        """The answer as far as it has come, if its head has."""
        return None if self.exchange is None else self.exchange.answer


def _reason(exc: Exception) -> str:
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not accepted ({cut(str(exc.certificate_error), 200)})"
    return cut(str(exc) or type(exc).__name__, 500)
