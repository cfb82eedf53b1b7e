"""MadeKeys: keys that are made and revoked while the server runs, stored as hashes and looked up in memory.

A request costs one lookup in a dictionary and no SQL. Where several servers share the database, `run` asks it for one
number every `POLL_SECONDS` and reads the keys again when that has changed; `refresh` does so at once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from time import monotonic

from app.auth.digest import digest
from app.domain.clock import iso
from app.domain.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, Unavailable
from app.domain.ids import NewId
from app.domain.made_key import MadeKey
from app.domain.principal import ANONYMOUS, LOCAL, Principal, scopes_of
from app.observability import audit
from app.storage import keys
from app.storage.engine.database import Database
from app.storage.engine.unit_of_work import UnitOfWork, WriteFailed

log = logging.getLogger(__name__)

PREFIX = "hk_"
"""What every secret begins with, so that people and scanners of repositories recognise one."""
POLL_SECONDS = 0.4
"""With the answer of the database, a key is refused everywhere well within a second after it was revoked."""
USES_SECONDS = 60.0
"""How often it is stored when keys were last used."""
HOUR_MS = 3_600_000


class MadeKeys:
    """The keys of one database. `load` them before the first request."""

    def __init__(
        self,
        database: Database,
        *,
        configured: Collection[str],
        most: int,
        new_id: NewId,
        clock_ms: Callable[[], int],
        is_shared: bool,
    ) -> None:
        """`configured`: names that the configuration has. `most`: usable keys. `is_shared`: other servers make keys."""
        self._database = database
        self._configured = configured
        self._most = most
        self._new_id = new_id
        self._clock_ms = clock_ms
        self._is_shared = is_shared
        self._version = 0
        self._keys: dict[str, MadeKey] = {}
        self._by_hash: dict[bytes, tuple[Principal, int | None]] = {}
        self._used: set[str] = set()
        self._loading = asyncio.Lock()
        self._revocations: dict[str, asyncio.Future[None]] = {}
        self.tell_others: Callable[[], Awaitable[None]] | None = None
        """Has the other servers read the keys again; awaited before a change is answered."""

    # -- asking ---------------------------------------------------------------------------------

    def find(self, hashed: bytes) -> Principal | None:
        """The principal of the key with this hash, if it is neither revoked nor expired."""
        found = self._by_hash.get(hashed)
        if found is None:
            return None
        principal, expires_ms = found
        if expires_ms is not None and self._clock_ms() >= expires_ms:
            return None
        assert principal.key_id is not None
        self._used.add(principal.key_id)
        return principal

    def is_good(self, key_id: str) -> bool:
        key = self._keys.get(key_id)
        return key is not None and key.is_good(self._clock_ms())

    def revocation(self, key_id: str) -> asyncio.Future[None]:
        """Done once it is known here that the key was revoked. Shared: wait for it with `asyncio.wait`."""
        found = self._revocations.get(key_id)
        if found is None:
            found = self._revocations[key_id] = asyncio.get_running_loop().create_future()
        return found

    def named(self, name: str) -> Principal | None:
        """A principal of this name that can make requests."""
        now_ms = self._clock_ms()
        return next(
            (
                principal
                for principal, expires_ms in self._by_hash.values()
                if principal.id == name and (expires_ms is None or now_ms < expires_ms)
            ),
            None,
        )

    def list(self) -> list[MadeKey]:
        """All of them, oldest first; also those that are revoked or expired."""
        return list(self._keys.values())

    # -- changing -------------------------------------------------------------------------------

    async def create(
        self,
        name: str,
        *,
        scopes: Collection[str],
        agents: Collection[str] | None,
        expires_ms: int | None,
        by: str,
        is_rotation: bool = False,
    ) -> tuple[MadeKey, str]:
        """Make a key; the second of the two is its secret, which is stored nowhere.

        `is_rotation`: there may be usable keys of this name already, which go on working.

        Raises:
            InvalidRequest: the name is one that the server uses itself.
            Conflict (`key_exists`): the configuration has a key of this name, or a usable one was made before.
            QuotaExceeded: `most` keys are usable.
            Unavailable: the database cannot write.
        """
        now_ms = self._clock_ms()
        if name in (ANONYMOUS, LOCAL):
            raise InvalidRequest(f"name: {name!r} is what callers without a key are called.")
        if name in self._configured:
            raise Conflict(f"The configuration has a key {name!r}; choose another name.", reason="key_exists")
        good = [key for key in self._keys.values() if key.is_good(now_ms)]
        if not is_rotation and any(key.name == name for key in good):
            sentence = f"There is a key {name!r} already; revoke it, or ask for a further one (rotate)."
            raise Conflict(sentence, reason="key_exists")
        if len(good) >= self._most:
            raise QuotaExceeded(f"There are {self._most} usable keys (auth.max_keys); revoke some.")
        secret = PREFIX + secrets.token_urlsafe(32)
        key = MadeKey(
            self._new_id("key"),
            name,
            digest(secret),
            tuple(sorted(scopes)),
            None if agents is None else tuple(sorted(agents)),
            by,
            now_ms,
            expires_ms,
        )
        unit = UnitOfWork("")
        keys.add(unit, key)
        await self._store(unit)
        audit.note(
            "key_created",
            principal=by,
            key_id=key.key_id,
            name=name,
            scopes=key.scopes,
            agents=key.agents,
            expires_at=iso(expires_ms),
        )
        return key, secret

    async def revoke(self, key_id: str, *, by: str) -> MadeKey:
        """Refuse the key from now on; again changes nothing. Raises NotFound (`key_not_found`), Unavailable."""
        if key_id not in self._keys:
            await self.refresh()  # another server may have made it a moment ago
        if key_id not in self._keys:
            raise NotFound(f"There is no key {key_id!r}; GET /admin/keys lists them.", reason="key_not_found")
        unit = UnitOfWork("")
        keys.add_revocation(unit, key_id, now_ms=self._clock_ms())
        await self._store(unit)
        key = self._keys[key_id]
        audit.note("key_revoked", principal=by, key_id=key_id, name=key.name)
        return key

    async def _store(self, unit: UnitOfWork) -> None:
        try:
            await self._database.submit(unit)
        except WriteFailed as error:
            raise Unavailable(f"The keys cannot be stored: {error}", reason="storage_unavailable") from error
        await self.load()
        if self.tell_others is not None:
            await self.tell_others()

    # -- keeping up -----------------------------------------------------------------------------

    async def load(self) -> None:
        """Read all keys. Raises Unavailable."""
        async with self._loading:  # or an older answer could come after a newer one
            self._version, found = await self._database.read(keys.stored)
            now_ms = self._clock_ms()
            self._keys = {key.key_id: key for key in found}
            self._by_hash = {key.hash: (_principal(key), key.expires_ms) for key in found if key.is_good(now_ms)}
        for key in found:
            if key.revoked_ms is not None and (told := self._revocations.pop(key.key_id, None)) is not None:
                told.set_result(None)

    async def refresh(self) -> None:
        """Read the keys again if another server changed them. Raises Unavailable."""
        if await self._database.read(keys.version) != self._version:
            await self.load()

    async def run(self) -> None:
        """Follow what other servers change, and store from time to time which keys were used. Until cancelled."""
        stored = monotonic()
        while True:
            await asyncio.sleep(POLL_SECONDS if self._is_shared else USES_SECONDS)
            try:
                if self._is_shared:
                    await self.refresh()
                if self._used and monotonic() - stored >= USES_SECONDS:
                    stored = monotonic()
                    await self.store_uses()
            except (Unavailable, WriteFailed) as error:
                log.warning("the keys made at run time cannot be looked up: %s", error)
            except Exception:  # the edge of a background task
                log.exception("keeping up with the keys made at run time failed")

    async def store_uses(self) -> None:
        """Store of each key that was used in which hour that was. Raises WriteFailed."""
        hour_ms = self._clock_ms() // HOUR_MS * HOUR_MS
        used, self._used = self._used, set()
        unit = UnitOfWork("")
        for key_id in used:
            key = self._keys.get(key_id)
            if key is not None and (key.used_ms or 0) < hour_ms:
                keys.add_use(unit, key_id, when_ms=hour_ms)
                self._keys[key_id] = replace(key, used_ms=hour_ms)
        if unit.steps:
            await self._database.submit(unit)


def _principal(key: MadeKey) -> Principal:
    agents = None if key.agents is None else frozenset(key.agents)
    return Principal(key.name, "key", scopes=scopes_of(key.scopes), agents=agents, key_id=key.key_id)
