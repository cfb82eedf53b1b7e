"""Webhooks: the outbox, the sender and the deliveries of a server, where its configuration has any."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from app.config.webhooks import WebhookConfig, WebhookDeliveryConfig
from app.domain.ids import NewId
from app.observability.metrics import Metrics
from app.storage.engine.database import Database
from app.webhooks.deliveries import Deliveries
from app.webhooks.outbox import WebhookOutbox
from app.webhooks.sender import Sender


class Webhooks:
    """One for the process. `run` it; `close` it before the databases."""

    def __init__(
        self,
        webhooks: Sequence[WebhookConfig],
        config: WebhookDeliveryConfig,
        durable: Database,
        ephemeral: Database,
        metrics: Metrics,
        *,
        new_id: NewId,
        clock_ms: Callable[[], int],
    ) -> None:
        self.sender = Sender(config)
        self.outbox = WebhookOutbox([webhook.webhook for webhook in webhooks], new_id=new_id)
        self._deliveries = [
            Deliveries(database, self.outbox, self.sender, config, metrics, clock_ms=clock_ms)
            for database in (durable, ephemeral)
        ]

    async def run(self) -> None:
        await asyncio.gather(*[deliveries.run() for deliveries in self._deliveries])

    async def close(self) -> None:
        await asyncio.gather(*[deliveries.close() for deliveries in self._deliveries])

    def add_gauges(self, metrics: Metrics) -> None:
        counts = [deliveries.get_counts for deliveries in self._deliveries]
        metrics.gauge(
            "hector_webhook_pending",
            "Events that webhooks are still to be told of.",
            lambda: sum([count().pending for count in counts]),
        )
        metrics.gauge(
            "hector_webhook_failed",
            "Events that no webhook took in time, kept for another try.",
            lambda: sum([count().failed for count in counts]),
        )

        def oldest() -> float:
            times = [since for count in counts if (since := count().oldest_ms) is not None]
            return max(time.time() - min(times) / 1000, 0.0) if times else 0.0

        metrics.gauge("hector_webhook_oldest_seconds", "Age of the oldest event that is still to be told.", oldest)
