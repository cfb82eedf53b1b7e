"""Sender: one attempt to tell an address; and whether an address may be told anything at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from app.config.webhooks import WebhookDeliveryConfig
from app.domain.errors import InvalidRequest
from app.domain.webhook import Webhook
from app.tools.addresses import PrivatePlaces, Resolve, checked_addresses, read_url, system_resolver
from app.tools.base import ToolFailed
from app.tools.http_exchange import Exchange
from app.tools.threads import Threads

MAX_ANSWER = 1_024
"""Bytes of an answer that are read; nothing in it matters."""
GONE = 410


@dataclass(frozen=True, slots=True)
class Answer:
    """`status`: of the answer; `None`: there was none, for the reason `problem`."""

    status: int | None
    problem: str

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Sends to public addresses and to the private ones that the configuration allows; follows no redirects."""

    def __init__(self, config: WebhookDeliveryConfig, *, resolve: Resolve | None = None) -> None:
        self._config = config
        self._private = PrivatePlaces(config.private)
        self._resolve = resolve or system_resolver(Threads())

    async def check(self, webhooks: Sequence[Webhook]) -> None:
        """Raises InvalidRequest: a client may not have the server send there."""
        if len(webhooks) > self._config.max_per_session:
            most = self._config.max_per_session
            raise InvalidRequest(f"webhooks: a session may have {most} (webhook_delivery.max_per_session).")
        if len({webhook.url for webhook in webhooks}) < len(webhooks):
            raise InvalidRequest("webhooks: an address is there twice; name all its events in one entry.")
        for webhook in webhooks:
            try:
                target = read_url(webhook.url)
                async with asyncio.timeout(self._config.timeout.total_seconds()):
                    await checked_addresses(target, resolve=self._resolve, private=self._private)
            except (ToolFailed, TimeoutError) as error:
                problem = str(error) or "its host is not found"
                raise InvalidRequest(f"webhooks: events cannot be sent to {webhook.url[:200]}: {problem}") from error

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """One POST, for `webhook_delivery.timeout` at most. Raises nothing."""
        exchange: Exchange | None = None
        try:
            async with asyncio.timeout(self._config.timeout.total_seconds()):
                target = read_url(url)
                addresses = await checked_addresses(target, resolve=self._resolve, private=self._private)
                exchange = Exchange("POST", target, addresses, headers=headers, body=body)
                status = (await exchange.carry_out(max_bytes=MAX_ANSWER, tls=True)).status
                return Answer(status, f"HTTP {status}")
        except (ToolFailed, aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            if exchange is not None and exchange.answer is not None:  # the head is there, the rest does not matter
                return Answer(exchange.answer.status, f"HTTP {exchange.answer.status}")
            problem = str(error) or "no answer in time"
            return Answer(None, problem[:200])
