"""Fixtures for all rooms."""

from tests.fixtures.postgres import database_url, databases, empty_postgres_url, postgres_url

__all__ = ["database_url", "databases", "empty_postgres_url", "postgres_url"]
