"""WebhookOutbox: decides who is to be told of an event, and adds that to the unit of work that stores the event."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence

from app.domain.ids import NewId
from app.domain.session import Session
from app.domain.webhook import Webhook
from app.events.run import Run
from app.storage import outbox
from app.storage.engine.unit_of_work import UnitOfWork
from app.webhooks.payload import fields_of

MOST_ERASED = 10_000
"""Sessions that are remembered as erased, so that no attempt reads their texts while the erasure is being written."""


class WebhookOutbox:
    """One for the process (the `Outbox` of its logs)."""

    def __init__(self, webhooks: Sequence[Webhook], *, new_id: NewId) -> None:
        """`webhooks`: those of the configuration."""
        self._webhooks = {webhook.url: webhook for webhook in webhooks}
        self._by_event: dict[str, list[Webhook]] = defaultdict(list)
        for webhook in webhooks:
            for event in webhook.events:
                self._by_event[event].append(webhook)
        self._new_id = new_id
        self._erased: OrderedDict[str, None] = OrderedDict()
        self.gone: set[str] = set()
        """Addresses that answered that they are gone: they are told nothing more by this process."""
        self.on_news: list[Callable[[], None]] = []
        self.on_interrupt: list[Callable[[str], None]] = []

    def find(self, url: str) -> Webhook | None:
        """The webhook of the configuration with this address."""
        return self._webhooks.get(url)

    def is_erased(self, session_id: str) -> bool:
        return session_id in self._erased

    # -- what a log calls ----------------------------------------------------------------------------------------

    def add(self, unit: UnitOfWork, session: Session, run: Run) -> bool:
        """See `Outbox`. Sessions that calls of other agents began are shown at their root, and told there."""
        kind = run.kind.value
        if session.parent_call is not None or (kind not in self._by_event and not session.webhooks):
            return False
        told = False
        for webhook, is_own in self._listeners(kind, session):
            told = True
            outbox.add(
                unit,
                outbox.Delivery(
                    self._new_id("whk"),
                    webhook.url,
                    session.session_id,
                    run.first,
                    session.agent,
                    kind,
                    fields_of(kind, run.payload),
                    webhook.includes_text,
                    webhook.secrets if is_own else None,
                    run.at_ms,
                    run.at_ms,
                ),
            )
        return told

    def _listeners(self, kind: str, session: Session) -> list[tuple[Webhook, bool]]:
        found = [(one, False) for one in self._by_event.get(kind, ())] + [(one, True) for one in session.webhooks]
        return [(one, is_own) for one, is_own in found if one.url not in self.gone and one.wants(kind, session.agent)]

    def drop(self, unit: UnitOfWork) -> None:
        outbox.add_drop(unit)

    def interrupt(self, session_id: str) -> None:
        self._erased[session_id] = None
        if len(self._erased) > MOST_ERASED:
            self._erased.popitem(last=False)
        for listener in self.on_interrupt:
            listener(session_id)

    def wake(self) -> None:
        for listener in self.on_news:
            listener()
