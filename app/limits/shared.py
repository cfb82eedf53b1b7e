"""SharedCounters: counted over all servers of a database, without SQL for each request.

Of a rate a server takes allowance in batches, about a twentieth of the burst, and serves requests from what it has. So
all of them together never grant more than the rate; a little less, while one holds what another could use. What was not
used within `KEEP_SECONDS` is let go. Places (turns, streams) are leased in the same way and given back when they are
idle; those of a server that died are free again after `LEASE_SECONDS`. While the database does not answer, a server
counts by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from app.domain.errors import Unavailable
from app.limits.counters import SWEEP_SECONDS, LocalCounters, Taken
from app.limits.rates import Rate
from app.storage import allowances
from app.storage.engine.database import Database

log = logging.getLogger(__name__)

SHARE = 20
"""A batch is a burst, or a number of places, divided by this."""
KEEP_SECONDS = 1.0
LEASE_SECONDS = 10.0
MOST_STOCKS = 10_000


@dataclass(slots=True)
class _Stock:
    """What is at hand of a bucket. `empty_until`: before that the database has nothing either."""

    at_hand: int = 0
    taken_at: float = float("-inf")
    empty_until: float = float("-inf")
    left: float = 0.0
    asking: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Places:
    """`leased` are this server's, `held` of them in use."""

    most: int
    leased: int = 0
    held: int = 0
    idle_since: float = 0.0
    waiting: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SharedCounters:
    """`run` it, and `close` it."""

    def __init__(
        self, database: Database, holder: str, *, secret: bytes, clock: Callable[[], float] = monotonic
    ) -> None:
        """`holder`: a name that no other server has. `secret` is that of the database: names are stored as hashes."""
        self._database = database
        self._holder = holder
        self._secret = hmac.digest(secret, b"limits", hashlib.sha256)
        self._clock = clock
        self._stocks: dict[str, _Stock] = {}
        self._places: dict[str, _Places] = {}
        self._alone = LocalCounters(clock=clock)
        self._swept = float("-inf")

    # -- rates ----------------------------------------------------------------------------------

    async def take(self, name: str, rate: Rate) -> Taken:
        stock = self._stocks.get(name)
        if stock is None:
            if len(self._stocks) >= MOST_STOCKS and self._clock() - self._swept >= SWEEP_SECONDS:
                self._swept = self._clock()
                self._drop_stale()
            stock = self._stocks[name] = _Stock()
        for _ in range(2):
            now = self._clock()
            if now - stock.taken_at > KEEP_SECONDS:
                stock.at_hand = 0
            if stock.at_hand > 0:
                stock.at_hand -= 1
                return Taken(0.0, stock.at_hand + int(stock.left))
            if now < stock.empty_until:
                return Taken(stock.empty_until - now, 0)
            if stock.asking is None:
                stock.asking = asyncio.get_running_loop().create_task(self._stock_up(name, stock, rate))
            try:
                await asyncio.shield(stock.asking)
            except Unavailable:
                return await self._alone.take(name, rate)
        return Taken(1.0 / rate.per_second, 0)  # others took what was brought

    async def _stock_up(self, name: str, stock: _Stock, rate: Rate) -> None:
        wanted = max(rate.burst // SHARE, 1)
        try:
            query = partial(
                allowances.take, name=self._hashed(name), wanted=wanted, burst=rate.burst, per_second=rate.per_second
            )
            granted, left = await self._database.read(query)
        finally:
            stock.asking = None
        now = self._clock()
        stock.at_hand, stock.taken_at, stock.left = granted, now, left
        if granted == 0:
            stock.empty_until = now + max((1.0 - left) / rate.per_second, 0.001)

    def _drop_stale(self) -> None:
        now = self._clock()
        self._stocks = {
            name: stock for name, stock in self._stocks.items() if now - stock.taken_at <= KEEP_SECONDS or stock.asking
        }

    # -- places ---------------------------------------------------------------------------------

    async def hold(self, name: str, most: int) -> bool:
        places = self._places.get(name)
        if places is None:
            places = self._places[name] = _Places(most)
        if places.held < places.leased and not places.lock.locked():
            places.held += 1
            return True
        places.waiting += 1
        try:
            async with places.lock:
                if places.held >= places.leased:
                    await self._lease(name, places, places.held + max(most // SHARE, 1))
                if places.held >= places.leased:
                    return False
                places.held += 1
                return True
        finally:
            places.waiting -= 1

    def release(self, name: str) -> None:
        places = self._places[name]
        places.held -= 1
        places.idle_since = self._clock()

    async def _lease(self, name: str, places: _Places, wanted: int) -> None:
        query = partial(
            allowances.occupy,
            name=self._hashed(name),
            holder=self._holder,
            wanted=min(wanted, places.most),
            fewest=places.held,
            most=places.most,
            lease_ms=int(LEASE_SECONDS * 1000),
        )
        try:
            places.leased = await self._database.read(query)
        except Unavailable as error:
            log.warning("places cannot be counted over all servers, this one goes by itself: %s", error)
            places.leased = places.most

    def _hashed(self, name: str) -> str:
        return hmac.digest(self._secret, name.encode("utf-8", "surrogatepass"), hashlib.sha256)[:16].hex()

    # -- keeping up -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Renew what is leased and give back what is idle, until cancelled."""
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            try:
                await self._give_back()
            except Unavailable as error:
                log.warning("places cannot be renewed: %s", error)
            except Exception:  # the edge of a background task
                log.exception("keeping up with shared limits failed")

    async def _give_back(self) -> None:
        now = self._clock()
        for name, places in list(self._places.items()):
            if places.leased > places.held and now - places.idle_since >= KEEP_SECONDS:
                async with places.lock:
                    places.leased = places.held  # nobody may take meanwhile what is given back
                    await self._lease(name, places, places.held)
            if not (places.held or places.leased or places.waiting):
                del self._places[name]
        await self._database.read(partial(allowances.renew, holder=self._holder, lease_ms=int(LEASE_SECONDS * 1000)))

    async def close(self) -> None:
        """Give everything back."""
        try:
            await self._database.read(partial(allowances.leave, holder=self._holder))
        except Unavailable as error:
            log.warning("places are given back by the end of their lease: %s", error)
