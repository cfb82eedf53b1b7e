"""Deliveries: tells addresses what the outbox of one database holds, in order for each session and address.

A row is leased before it is sent, so that of several servers one sends it. A server that dies leaves its leases to run
out; what it had sent and not yet deleted is sent again, with the same id.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from app.config.webhooks import WebhookDeliveryConfig
from app.domain.errors import Unavailable
from app.observability.metrics import Metrics
from app.observability.tasks import Tasks
from app.storage import outbox
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteConflict, WriteFailed
from app.storage.outbox import Counts, Delivery
from app.webhooks.outbox import WebhookOutbox
from app.webhooks.payload import headers_of, make_body
from app.webhooks.sender import GONE, Answer, Sender

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
"""How often the outbox is looked through without a reason: another server may have died and left something."""
AFTER_FAULT_SECONDS = 1.0
LEASE_MARGIN_MS = 5_000
"""How much longer than an attempt a lease holds."""
AT_A_TIME = 64
"""Rows that are leased together; each address has at most `concurrency` of them under way."""
COUNT_SECONDS = 2.0
SWEEP_SECONDS = 600.0
CLOSE_SECONDS = 2.0
"""How long the shutdown waits for attempts that are under way."""


class Deliveries:
    """One for each database. `run` it; `close` it."""

    def __init__(
        self,
        database: Database,
        webhooks: WebhookOutbox,
        sender: Sender,
        config: WebhookDeliveryConfig,
        metrics: Metrics,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self._database = database
        self._webhooks = webhooks
        self._sender = sender
        self._config = config
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._lease_ms = int(config.timeout.total_seconds() * 1000) + LEASE_MARGIN_MS
        self._news = asyncio.Event()
        self._tasks = Tasks()
        self._attempts: dict[str, tuple[str, asyncio.Task[Answer | None]]] = {}
        """Of each delivery that is being sent: its session, and the attempt."""
        self._under_way: set[str] = set()
        self._busy: Counter[str] = Counter()
        self._counted_clock = self._swept_clock = float("-inf")
        self._counts = Counts(0, 0, None)
        webhooks.on_news.append(self._news.set)
        webhooks.on_interrupt.append(self._interrupt)

    async def run(self) -> None:
        """Deliver what there is, for ever."""
        while True:
            self._news.clear()
            pause = AFTER_FAULT_SECONDS
            try:
                pause = await self._round()
            except (Unavailable, WriteFailed) as error:
                log.warning("webhooks have to wait, the database does not answer: %s", error)
            except Exception:  # the edge of a background loop
                log.exception("webhooks could not be delivered, by our fault")
            try:
                await asyncio.wait_for(self._news.wait(), pause)
            except TimeoutError:
                pass

    def get_counts(self) -> Counts:
        """As they were at most a few seconds ago."""
        return self._counts

    async def close(self) -> None:
        """Let attempts that are under way end, for a bounded time; the rest is sent again after the next start."""
        await self._tasks.wait(seconds=CLOSE_SECONDS)
        for _, attempt in self._attempts.values():
            attempt.cancel()
        await self._tasks.wait(seconds=CLOSE_SECONDS)
        await self._tasks.cancel()

    # -- choosing ------------------------------------------------------------------------------------------------

    async def _round(self) -> float:
        """Lease what is due and send it; returns for how many seconds nothing will be due."""
        await self._tidy()
        now = self._clock_ms()
        most = self._config.concurrency
        full = [url for url, number in self._busy.items() if number >= most]
        found = await self._database.read(partial(outbox.due, now_ms=now, without=full, limit=AT_A_TIME))
        chosen = self._choose(found)
        if not chosen:
            next_ms = await self._database.read(partial(outbox.next_due, now_ms=now))
            return POLL_SECONDS if next_ms is None else min(max(next_ms - now, 1) / 1000, POLL_SECONDS)
        unit = UnitOfWork("")
        claimed = outbox.claim(unit, chosen, now_ms=now, lease_ms=now + self._lease_ms)
        await self._database.submit(unit)
        for delivery in claimed:
            self._under_way.add(delivery.delivery_id)
            self._busy[delivery.url] += 1
            self._tasks.start(self._deliver(delivery), name=f"webhook {delivery.delivery_id}")
        return 0.0 if claimed else AFTER_FAULT_SECONDS

    def _choose(self, found: list[tuple[str, str]]) -> list[str]:
        """Of what is due as much as each address has room for."""
        chosen, busy = [], Counter(self._busy)
        for delivery_id, url in found:
            if busy[url] < self._config.concurrency and delivery_id not in self._under_way:
                busy[url] += 1
                chosen.append(delivery_id)
        return chosen

    async def _tidy(self) -> None:
        clock = time.monotonic()
        if clock - self._swept_clock > SWEEP_SECONDS:
            self._swept_clock = clock
            unit = UnitOfWork("")
            outbox.add_drop_failed(unit, before_ms=self._clock_ms() - _milliseconds(self._config.keep_failed))
            await self._database.submit(unit)
        if clock - self._counted_clock > COUNT_SECONDS:
            self._counted_clock = clock
            self._counts = await self._database.read(outbox.counts)

    # -- one delivery ----------------------------------------------------------------------------------------------

    async def _deliver(self, delivery: Delivery) -> None:
        attempt = asyncio.ensure_future(self._send(delivery))
        self._attempts[delivery.delivery_id] = (delivery.session_id, attempt)
        try:
            await asyncio.wait([attempt])
            del self._attempts[delivery.delivery_id]
            unit = UnitOfWork(delivery.session_id)
            if attempt.cancelled():
                outbox.add_release(unit, delivery)
            else:
                self._add_outcome(unit, delivery, attempt.result())
            await self._store(unit)
        finally:
            attempt.cancel()
            self._under_way.discard(delivery.delivery_id)
            self._busy -= Counter({delivery.url: 1})
            self._news.set()

    async def _send(self, delivery: Delivery) -> Answer | None:
        """The answer of the address; `None`: it is not to be told anything any more."""
        secrets = delivery.secrets
        if secrets is None:
            webhook = self._webhooks.find(delivery.url)
            secrets = webhook.secrets if webhook is not None else None
        if secrets is None or delivery.url in self._webhooks.gone:
            return None
        try:
            has_text = not self._webhooks.is_erased(delivery.session_id)
            body = await make_body(self._database, delivery, has_text=has_text)
        except Unavailable as error:
            return Answer(None, str(error))
        headers = headers_of(delivery.delivery_id, secrets, body, now_ms=self._clock_ms())
        return await self._sender.send(delivery.url, body, headers)

    def _interrupt(self, session_id: str) -> None:
        for session, attempt in self._attempts.values():
            if session == session_id:
                attempt.cancel()

    # -- what became of it -----------------------------------------------------------------------------------------

    def _add_outcome(self, unit: UnitOfWork, delivery: Delivery, answer: Answer | None) -> None:
        now = self._clock_ms()
        if answer is None or answer.is_delivered:
            outbox.add_delivered(unit, delivery, now_ms=now)
            self._metrics.webhook_tried("dropped" if answer is None else "delivered")
        elif answer.status == GONE:
            self._webhooks.gone.add(delivery.url)
            outbox.add_drop_url(unit, delivery.url)
            self._metrics.webhook_tried("gone")
            log.warning("the webhook %s is gone (HTTP 410): it is told nothing more", _shown(delivery.url))
        else:
            self._add_failure(unit, delivery, answer.problem, now)

    def _add_failure(self, unit: UnitOfWork, delivery: Delivery, problem: str, now: int) -> None:
        last_ms = delivery.since_ms + _milliseconds(self._config.give_up)
        due_ms = min(now + self._pause_ms(delivery.attempts), last_ms)
        if now >= last_ms:
            outbox.add_failed(unit, delivery, now_ms=now, problem=problem)
            self._metrics.webhook_tried("failed")
            log.warning(
                "the webhook %s was not told of %s %s, after %d attempts: %s",
                _shown(delivery.url),
                delivery.kind,
                delivery.delivery_id,
                delivery.attempts + 1,
                problem,
            )
            return
        outbox.add_retry(unit, delivery, due_ms=due_ms, problem=problem)
        self._metrics.webhook_tried("retried")
        log.log(
            logging.WARNING if delivery.attempts == 0 else logging.DEBUG,
            "the webhook %s does not take %s: %s; it is tried again",
            _shown(delivery.url),
            delivery.delivery_id,
            problem,
        )

    def _pause_ms(self, attempts: int) -> int:
        """The next pause, a fifth longer or shorter by chance, so that what failed together is not tried together."""
        longest = _milliseconds(self._config.max_pause)
        pause = min(_milliseconds(self._config.first_pause) << min(attempts, 30), longest)
        return max(int(pause * random.uniform(0.8, 1.2)), 1)

    async def _store(self, unit: UnitOfWork) -> None:
        """Write it until it is written: else what was delivered would be sent again."""
        while True:
            try:
                await asyncio.shield(self._database.submit(unit))
            except WriteConflict:
                return
            except WriteFailed as error:
                log.warning("what became of a webhook cannot be stored yet: %s", error)
                await asyncio.wait([self._database.next_commit()], timeout=AFTER_FAULT_SECONDS)
            else:
                return


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def _shown(url: str) -> str:
    """An address in a log: its query may be a secret."""
    return url.partition("?")[0]
