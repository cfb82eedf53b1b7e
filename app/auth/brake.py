"""Brake: an address that sends wrong keys has to wait, longer each time, so that keys cannot be guessed."""

from __future__ import annotations

import ipaddress
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from app.domain.errors import QuotaExceeded
from app.observability import audit

log = logging.getLogger(__name__)

MOST = 10_000
"""Addresses, and pairs of address and key, that are remembered; the oldest gives way."""
FORGET_SECONDS = 900.0
"""An address that has sent no wrong key for so long starts again."""


@dataclass(slots=True)
class _Guesser:
    wrong: int
    last: float
    until: float = 0.0


class Brake:
    """Counts wrong keys by address; of IPv6 by /64, which is what one subscriber has.

    While an address waits, a key is refused there whether it is right or wrong, else a guess would tell. But a key
    that was used from the address before goes on working: others behind the same proxy are not locked out.
    """

    def __init__(self, *, allowed: int | None, longest_seconds: float, clock: Callable[[], float] = monotonic) -> None:
        """`allowed`: wrong keys before the first wait; `None`: there is none."""
        self._allowed = allowed
        self._longest = longest_seconds
        self._clock = clock
        self._guessers: dict[str, _Guesser] = {}
        self._known: dict[tuple[str, str], None] = {}

    def note_right(self, address: str, name: str) -> None:
        """A valid key was sent. Raises QuotaExceeded if the address has to wait and never sent this key before."""
        if self._allowed is None or (address, name) in self._known:
            return
        if self._guessers:
            self._check(network_of(address))
        _make_room(self._known)
        self._known[address, name] = None

    def note_wrong(self, address: str) -> None:
        """A wrong key was sent. Raises QuotaExceeded if the address has to wait."""
        if self._allowed is None:
            return
        network, now = network_of(address), self._clock()
        self._check(network)
        guesser = self._guessers.pop(network, None)  # the newest stands last
        if guesser is None or now - guesser.last > FORGET_SECONDS:
            _make_room(self._guessers)
            guesser = _Guesser(0, now)
        guesser.wrong, guesser.last = guesser.wrong + 1, now
        over = guesser.wrong - self._allowed
        if over == 1:
            log.warning(
                "%d wrong keys came from %s; it has to wait between guesses from now on", guesser.wrong, network
            )
            audit.note("logins_braked", principal=None, address=network, wrong_keys=guesser.wrong)
        if over > 0:
            guesser.until = now + min(2.0 ** min(over - 1, 30), self._longest)
        self._guessers[network] = guesser

    def _check(self, network: str) -> None:
        guesser = self._guessers.get(network)
        left = guesser.until - self._clock() if guesser is not None else 0.0
        if left <= 0:
            return
        refusal = QuotaExceeded(f"Too many wrong keys from this address; try again in {math.ceil(left)} s.")
        refusal.retry_after_seconds = math.ceil(left)
        raise refusal


def network_of(address: str) -> str:
    """The address, of IPv6 its /64; what is no address stays as it is."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found.packed[:8] + bytes(8), 64)))


def _make_room(table: dict[Any, Any]) -> None:
    while len(table) >= MOST:
        del table[next(iter(table))]
