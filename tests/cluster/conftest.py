"""Replicas `a` and `b` on one database, and more on request; a model provider for the servers of one file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.cluster.replicas import OpenReplica, Replica
from tests.fixtures.line import Line
from tests.fixtures.upstream import Upstream


@pytest.fixture
def line(postgres_url: str) -> Iterator[Line]:
    with Line(postgres_url) as line:
        yield line


@pytest.fixture
async def open_replica(postgres_url: str) -> AsyncIterator[OpenReplica]:
    """Opens a replica by its name, on `url` if that is given; it is closed at the end."""
    opened: list[Replica] = []

    async def open_replica(name: str, *, url: str | None = None) -> Replica:
        opened.append(Replica(name, url or postgres_url, direct_url=postgres_url))
        await opened[-1].open()
        return opened[-1]

    yield open_replica
    for replica in opened:
        replica.may_go_on.set()
        await replica.close()


@pytest.fixture
async def a(open_replica: OpenReplica) -> Replica:
    return await open_replica("a")


@pytest.fixture
async def b(open_replica: OpenReplica) -> Replica:
    return await open_replica("b")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(provider: Upstream) -> Upstream:
    """The provider, as new."""
    provider.reset()
    return provider
