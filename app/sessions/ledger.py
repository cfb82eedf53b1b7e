"""Ledger: tokens used, by user, session, agent or day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Literal

from app.domain.principal import Principal
from app.events.live import LiveSessions
from app.storage import usage
from app.storage.usage import UsageRow

EPOCH = date(1970, 1, 1)

By = Literal["user", "session", "agent", "day"]


class Ledger:
    """Sums up tokens. A principal sees its own; with a user, that user's only."""

    def __init__(self, live: LiveSessions) -> None:
        self._live = live

    async def tokens_on(self, principal: str, user_id: str | None, day: int) -> int:
        """Tokens that a principal, or one of its users, has used on a day. Raises Unavailable."""
        query = partial(usage.tokens_on, principal=principal, user_id=user_id, day=day)
        return await self._live.durable.database.read(query)

    async def sums(
        self, principal: Principal, *, by: By, first: date | None, last: date | None, limit: int
    ) -> list[UsageRow]:
        """From day `first` to day `last`, both inclusive (UTC). `limit` holds for sessions, the latest first."""
        read = self._live.durable.database.read
        if by == "session":
            return await read(
                partial(
                    usage.by_session,
                    principal=principal.id,
                    user_id=principal.user_id,
                    from_ms=_midnight_ms(first) if first else None,
                    before_ms=_midnight_ms(last + timedelta(days=1)) if last else None,
                    limit=limit,
                )
            )
        return await read(
            partial(
                usage.sums,
                principal=principal.id,
                user_id=principal.user_id,
                by=by,
                first_day=(first - EPOCH).days if first else None,
                last_day=(last - EPOCH).days if last else None,
            )
        )


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
