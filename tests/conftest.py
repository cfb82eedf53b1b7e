"""Fixtures for all rooms."""

from hypothesis import settings

from tests.fixtures.postgres import database, database_url, databases, empty_postgres_url, postgres_url

__all__ = ["database", "database_url", "databases", "empty_postgres_url", "postgres_url"]

# Tests have a time limit already (pyproject.toml); a single example may meet a busy machine.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")
