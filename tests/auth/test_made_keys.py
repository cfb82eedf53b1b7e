"""Keys that are made at run time: stored as hashes, looked up in memory, revoked on every server of the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from app.auth import made_keys
from app.auth.authenticate import Authenticator
from app.auth.digest import digest
from app.auth.made_keys import MadeKeys
from app.domain.errors import Conflict, HectorError, InvalidRequest, NotFound, QuotaExceeded, Unauthenticated
from app.domain.ids import format_id
from app.domain.made_key import MadeKey
from app.domain.principal import Scope
from app.storage.engine.database import Database
from tests.fixtures.keys import plain_keys

NOW = 1_800_000_000_000
HOUR = 3_600_000


class Clock:
    now_ms = NOW

    def __call__(self) -> int:
        return self.now_ms


def keys_on(database: Database, clock: Clock, *, most: int = 10, is_shared: bool = False) -> MadeKeys:
    counted = iter(range(1, 1000))
    return MadeKeys(
        database,
        configured={"operator"},
        most=most,
        new_id=lambda kind: format_id(kind, milliseconds=clock.now_ms, randomness=id(counted) * 1000 + next(counted)),
        clock_ms=clock,
        is_shared=is_shared,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def keys(database: Database, clock: Clock) -> MadeKeys:
    made = keys_on(database, clock)
    await made.load()
    return made


async def make(keys: MadeKeys, name: str = "shop", **options: Any) -> tuple[MadeKey, str]:
    given: dict[str, Any] = {"scopes": ["chat", "read"], "agents": None, "expires_ms": None, "by": "operator"}
    return await keys.create(name, **{**given, **options})


async def test_a_key_works_at_once_and_after_a_restart(keys: MadeKeys, database: Database, clock: Clock) -> None:
    key, secret = await make(keys, agents=["helper"])
    again = keys_on(database, clock)
    await again.load()
    for one in (keys, again):
        principal = one.find(digest(secret))
        assert principal is not None
        assert (principal.id, principal.agents, principal.key_id) == ("shop", frozenset({"helper"}), key.key_id)
        assert principal.scopes == {Scope.CHAT, Scope.READ}
        assert one.find(digest(secret + "x")) is None


async def test_only_the_hash_is_stored(keys: MadeKeys, database: Database) -> None:
    _, secret = await make(keys)
    rows = await database.read(lambda connection: connection.execute(text("SELECT * FROM keys")).all())
    stored = " ".join([str(bytes(value) if isinstance(value, memoryview) else value) for row in rows for value in row])
    assert "shop" in stored
    assert secret not in stored
    assert secret.removeprefix("hk_") not in stored


async def test_a_revoked_key_is_refused_and_stays_in_the_list(keys: MadeKeys) -> None:
    key, secret = await make(keys)
    for _ in range(2):
        assert (await keys.revoke(key.key_id, by="operator")).revoked_ms == NOW
    assert keys.find(digest(secret)) is None
    assert not keys.is_good(key.key_id)
    assert [one.key_id for one in keys.list()] == [key.key_id]
    with pytest.raises(NotFound) as refused:
        await keys.revoke("key_unknown", by="operator")
    assert refused.value.reason == "key_not_found"


async def test_an_expired_key_is_refused_without_anybody_doing_anything(keys: MadeKeys, clock: Clock) -> None:
    _, secret = await make(keys, expires_ms=NOW + 1000)
    clock.now_ms += 999
    assert keys.find(digest(secret)) is not None
    clock.now_ms += 1
    assert keys.find(digest(secret)) is None
    assert keys.named("shop") is None
    await make(keys)  # its name is free again


async def test_a_second_key_of_a_name_is_a_rotation_or_a_mistake(keys: MadeKeys) -> None:
    old, old_secret = await make(keys)
    with pytest.raises(Conflict) as refused:
        await make(keys)
    assert refused.value.reason == "key_exists"
    _, new_secret = await make(keys, is_rotation=True)
    assert {keys.find(digest(one)).id for one in (old_secret, new_secret)} == {"shop"}  # type: ignore[union-attr]
    await keys.revoke(old.key_id, by="operator")
    assert keys.find(digest(old_secret)) is None
    assert keys.find(digest(new_secret)) is not None
    assert keys.named("shop") is not None


@pytest.mark.parametrize(
    ("name", "error"), [("operator", Conflict), ("anonymous", InvalidRequest), ("local", InvalidRequest)]
)
async def test_names_that_are_taken(keys: MadeKeys, name: str, error: type[HectorError]) -> None:
    with pytest.raises(error):
        await make(keys, name, is_rotation=True)


async def test_there_is_a_most(database: Database, clock: Clock) -> None:
    keys = keys_on(database, clock, most=2)
    first, _ = await make(keys, "one")
    await make(keys, "two")
    with pytest.raises(QuotaExceeded):
        await make(keys, "three")
    await keys.revoke(first.key_id, by="operator")
    await make(keys, "three")


async def test_when_a_key_was_last_used_is_known_to_the_hour(keys: MadeKeys, database: Database, clock: Clock) -> None:
    key, secret = await make(keys)
    keys.find(digest(secret))
    clock.now_ms += HOUR + 5
    keys.find(digest(secret))
    await keys.store_uses()
    again = keys_on(database, clock)
    await again.load()
    for one in (keys, again):
        assert [found.used_ms for found in one.list()] == [clock.now_ms // HOUR * HOUR]
    assert key.used_ms is None


async def test_a_key_counts_beside_those_of_the_configuration(keys: MadeKeys) -> None:
    key, secret = await make(keys)
    authenticator = Authenticator(plain_keys(operator="configured"), made=keys)
    principal = authenticator.authenticate(f"Bearer {secret}")
    assert principal.id == "shop"
    assert authenticator.authenticate("Bearer configured").id == "operator"
    assert authenticator.find("shop") is not None
    authenticator.check(principal)
    await keys.revoke(key.key_id, by="operator")
    with pytest.raises(Unauthenticated):
        authenticator.authenticate(f"Bearer {secret}")
    with pytest.raises(Unauthenticated):
        authenticator.check(principal)
    assert authenticator.find("shop") is None


@pytest_asyncio.fixture
async def servers(postgres_url: str, clock: Clock) -> AsyncIterator[list[MadeKeys]]:
    """Three servers on one database; the last one may write."""
    databases = [Database(postgres_url, pool_size=2) for _ in range(3)]
    servers, tasks = [], []
    for database in databases:
        await database.open()
        made = keys_on(database, clock, is_shared=True)
        await made.load()
        tasks.append(asyncio.create_task(made.run()))
        servers.append(made)
    yield servers
    for task in tasks:
        task.cancel()
    for database in databases:
        await database.close()


async def test_a_key_is_known_and_refused_on_every_server_within_a_second(servers: list[MadeKeys]) -> None:
    *_, writer = servers
    loop = asyncio.get_running_loop()
    for _ in range(3):
        key, secret = await make(writer)
        hashed = digest(secret)

        async def seen(is_known: bool, hashed: bytes = hashed) -> float:
            began = loop.time()
            async with asyncio.timeout(10):
                while any((one.find(hashed) is not None) is not is_known for one in servers):
                    await asyncio.sleep(0.005)
            return loop.time() - began

        await seen(True)
        await writer.revoke(key.key_id, by="operator")
        assert writer.find(hashed) is None
        assert await seen(False) < 1.0
    assert made_keys.POLL_SECONDS <= 0.5


async def test_another_server_revokes_what_this_one_has_not_seen_yet(servers: list[MadeKeys], clock: Clock) -> None:
    *_, writer = servers
    late = keys_on(writer._database, clock)
    await late.load()
    key, _ = await make(writer)
    assert (await late.revoke(key.key_id, by="operator")).revoked_ms == NOW
