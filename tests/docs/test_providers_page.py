"""The page of rules about providers names tests that exist."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")


def test_every_rule_names_tests_that_exist() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert {name for name in named if f"def {name}(" not in code} == set()


def test_every_rule_has_a_test() -> None:
    rows = re.findall(r"^\| (?!rule|---)(.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 20
    assert [rule for rule, tests in rows if "`test_" not in tests] == []
