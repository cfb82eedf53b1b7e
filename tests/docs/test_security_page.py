"""SECURITY.md: every requirement that it calls met names tests that there are."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| (met|partly|not applicable|not met) \| ([^|]+) \|$", PAGE, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))


@cache
def existing() -> frozenset[str]:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    return frozenset(re.findall(r"^ *(?:async )?def (test_\w+)\(", "\n".join(texts), re.MULTILINE))


def test_every_row_of_the_table_has_one_of_the_states() -> None:
    table = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| requirement ")]

    assert len(table) == len(ROWS) > 30


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_is_there(name: str) -> None:
    assert name in existing()


def test_what_is_met_is_shown_by_a_test_or_a_row_that_is() -> None:
    chapters = {
        chapter for requirement, state, _ in ROWS if state == "met" for chapter in re.findall(r"V\d+", requirement)
    }

    for requirement, state, why in ROWS:
        others = re.findall(r"\bV\d+\b", why)
        assert state != "met" or "`test_" in why or (others and set(others) <= chapters), requirement
        assert state == "met" or len(why.split()) > 5, requirement
