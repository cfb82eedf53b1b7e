"""The short form of the fault check. The long one is run by hand: `python -m tests.faults`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.run import Run


@pytest.mark.timeout(240)  # several starts of a server, on a machine that may be busy
@pytest.mark.parametrize("seed", [1])
async def test_random_faults_lose_nothing_and_bring_nothing_back(tmp_path: Path, seed: int) -> None:
    run = Run(tmp_path, seed)
    await run.go(faults=5)
    assert run.problems == []
    assert run.messages > 5, "the clients have become idle"
