"""The short form of the kill matrix. The long one is run by hand: `python -m tests.kills`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kills.checks import OnCrash
from tests.kills.deeds import Point
from tests.kills.run import Run

SOME: tuple[Point, ...] = ("before started", "in the body, after its effect", "before the checkpoint")


@pytest.mark.timeout(240)  # several starts of a server, on a machine that may be busy
@pytest.mark.parametrize("on_crash", ["resume", "interrupt"])
async def test_no_call_happens_twice_or_is_lost_when_the_process_dies(tmp_path: Path, on_crash: OnCrash) -> None:
    run = Run(tmp_path, 1, on_crash=on_crash, points=SOME)
    await run.go(kills=len(SOME))
    assert run.problems == []
    assert run.counts["acts"] > 5, "the clients have become idle"
