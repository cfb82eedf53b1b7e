"""A house on a file, and one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fixtures.house import House


@pytest.fixture(params=["file", "memory"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    opened = House(tmp_path / "hector.db" if request.param == "file" else None)
    await opened.open()
    yield opened
    await opened.close()
