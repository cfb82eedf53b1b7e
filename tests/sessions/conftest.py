"""A house on a file, and one on Postgres. Memory is what tests/turns/test_promise.py runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fixtures.house import House


@pytest.fixture(params=["file", "postgres"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    opened = House(tmp_path / "hector.db" if request.param == "file" else None, url=url)
    await opened.open()
    yield opened
    await opened.close()
