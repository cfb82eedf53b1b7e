"""Marks: what is read again where several servers write, and what a late row changes."""

from __future__ import annotations

import pytest

from app.search import mark
from app.search.mark import NEAR, Mark


def test_a_single_server_reads_what_is_new_only() -> None:
    one = Mark()
    assert one.since() == 0
    one.reach(7)
    one.reach(5)
    assert one.since() == one.last == 7


def test_what_is_young_is_read_again_until_no_row_can_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(mark, "monotonic", lambda: now)
    one = Mark(30.0)
    one.reach(10_000)
    assert one.since() == 10_000 - NEAR
    one.reach(10_005)
    now += 29
    assert one.since() == 10_000 - NEAR
    now += 1
    assert one.since() == 10_000
    now += 30
    assert one.since() == 10_005
