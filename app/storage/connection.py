"""Connection: what a query runs on. For rooms that pass it from one query to the next and do not use it themselves."""

from __future__ import annotations

from sqlalchemy import Connection

__all__ = ["Connection"]
