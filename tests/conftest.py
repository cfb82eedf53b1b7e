"""Fixtures for all rooms.

With TEST_ON=postgres in the environment the servers of tests work on PostgreSQL (see fixtures/server.py), and tests
about SQLite's file (mark `database_file`) are left out.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.fixtures.postgres import Databases, database, database_url, databases, empty_postgres_url, postgres_url
from tests.fixtures.redis import redis_server, shared_redis
from tests.fixtures.server import ON_POSTGRES, use_databases

__all__ = [
    "database",
    "database_url",
    "databases",
    "empty_postgres_url",
    "postgres_url",
    "redis_server",
    "shared_redis",
]

# Tests have a time limit already (pyproject.toml); a single example may meet a busy machine.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")


if ON_POSTGRES:

    @pytest.fixture(scope="session", autouse=True)
    def servers_on_postgres(databases: Databases) -> None:
        use_databases(databases.create)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if ON_POSTGRES:
        about_files = [item for item in items if item.get_closest_marker("database_file")]
        config.hook.pytest_deselected(items=about_files)
        items[:] = [item for item in items if item not in about_files]
