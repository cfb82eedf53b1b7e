"""Signers: the public keys that an issuer signs its tokens with, from an address or a file.

They are read before the server is ready, every `REFRESH_SECONDS`, and when a token names a key that is not among them,
but not again within `PAUSE_SECONDS` whatever tokens say. While they cannot be read, those there are stay in use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")
"""What a token may be signed with. No `none`, and nothing symmetric: a public key must never count as a secret."""
REFRESH_SECONDS = 300.0
PAUSE_SECONDS = 10.0
FETCH_SECONDS = 5.0
MOST_BYTES = 262_144
MOST_KEYS = 100
SMALLEST_RSA = 2048
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}

Read = Callable[[], Awaitable[bytes]]


class Unreadable(Exception):
    """The keys cannot be read; says why."""


class Signers:
    """The keys by id and algorithm: a key verifies what it is for, whatever a token says."""

    def __init__(self, read: Read, place: str, *, clock: Callable[[], float] = monotonic) -> None:
        """`read` gives a JSON Web Key Set, or raises Unreadable. `place` is where it comes from, for the log."""
        self._read = read
        self._place = place
        self._clock = clock
        self._keys: Mapping[tuple[str | None, str], PyJWK] = {}
        self._ids: frozenset[str | None] = frozenset()
        self._given = b""
        self._asked = float("-inf")
        self._lock = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None

    @property
    def is_empty(self) -> bool:
        return not self._keys

    @property
    def may_ask(self) -> bool:
        """Whether the keys may be read again now because a token names an unknown one."""
        return self._clock() - self._asked >= PAUSE_SECONDS

    def knows(self, key_id: str | None) -> bool:
        """A token without an id is signed by the only key, if there is only one."""
        return key_id in self._ids or (key_id is None and len(self._ids) == 1)

    def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """The key with this id, if it is one for this algorithm."""
        if key_id is None and len(self._ids) == 1:
            (key_id,) = self._ids
        return self._keys.get((key_id, algorithm))

    async def refresh(self) -> None:
        """Read the keys because a token names an unknown one, unless that was just done for another."""
        async with self._lock:  # whoever comes meanwhile waits for the same answer
            if self.may_ask:
                self._asked = self._clock()
                await self._load()

    async def load(self) -> None:
        """Read the keys now."""
        async with self._lock:
            await self._load()

    async def _load(self) -> None:
        try:
            given = await self._read()
            if given == self._given:
                return
            keys = read_keys(given)
        except Unreadable as error:
            log.warning("the keys of tokens at %s cannot be read, those before stay in use: %s", self._place, error)
            return
        self._given, self._keys = given, keys
        self._ids = frozenset(key_id for key_id, _ in keys)
        self.on_change()
        log.info("%d keys of tokens from %s", len(self._ids), self._place)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.load()


def read_keys(given: bytes) -> dict[tuple[str | None, str], PyJWK]:
    """The keys of a set that can be used; others are passed over. Raises Unreadable: there is none."""
    try:
        entries = orjson.loads(given)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise Unreadable("this is no JSON Web Key Set") from None
    found: dict[tuple[str | None, str], PyJWK] = {}
    for entry in entries[:MOST_KEYS] if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        key_id = entry.get("kid")
        for algorithm in _algorithms_of(entry):
            try:
                key = PyJWK(entry, algorithm)
            except (PyJWTError, ValueError, TypeError):
                continue
            is_small = isinstance(key.key, RSAPublicKey) and key.key.key_size < SMALLEST_RSA
            if not is_small and "d" not in entry:
                found[key_id if isinstance(key_id, str) else None, algorithm] = key
    if not found:
        raise Unreadable("no key in the set can be used: RSA from 2048 bits, EC or Ed25519, for signatures")
    return found


def _algorithms_of(entry: Mapping[str, Any]) -> tuple[str, ...]:
    named = entry.get("alg")
    kind = entry.get("kty")
    if kind == "RSA":
        fitting: tuple[str, ...] = ALGORITHMS[:3]
    elif kind in ("EC", "OKP"):
        fitting = tuple(word for curve, word in _BY_CURVE.items() if curve == entry.get("crv"))
    else:
        return ()
    return fitting if named is None else tuple(word for word in fitting if word == named)


def from_file(path: Path) -> Read:
    async def read() -> bytes:
        try:
            found = await asyncio.to_thread(_read_file, path)
        except OSError as error:
            raise Unreadable((error.strerror or str(error)).lower()) from error
        return _bounded(found)

    return read


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def from_url(url: str) -> Read:
    """Redirects are not followed: the address in the configuration is the one that is trusted."""

    async def read() -> bytes:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                async with httpx2.AsyncClient(follow_redirects=False) as client, client.stream("GET", url) as response:
                    if response.status_code != 200:
                        raise Unreadable(f"the answer was {response.status_code}")
                    found = bytearray()
                    async for part in response.aiter_bytes():
                        found += part
                        _bounded(found)
                    return bytes(found)
        except TimeoutError:
            raise Unreadable(f"no answer within {FETCH_SECONDS:g} s") from None
        except httpx2.HTTPError as error:
            raise Unreadable(str(error) or type(error).__name__) from error

    return read


def _bounded(found: bytes | bytearray) -> bytes:
    if len(found) > MOST_BYTES:
        raise Unreadable(f"it is larger than {MOST_BYTES} bytes")
    return bytes(found)
