"""The page on operation: the table of sizes has figures of the page on benchmarks, and plans with half of them."""

from __future__ import annotations

import re

from tests.fixtures.server import ROOT

PAGE = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
TOKENS_PER_SECOND = 50


def rows() -> list[tuple[str, str, str]]:
    section = PAGE.partition("## How large a machine")[2].partition("\n## ")[0]
    found = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    return [row for row in found if row[0] != "what"]


def test_every_figure_is_one_of_the_benchmarks() -> None:
    assert len(rows()) >= 9
    for _, figure, _ in rows():
        for number in re.findall(r"\d[\d,]*(?: [KM]B)?", figure):
            assert re.search(rf"(?<![\d,]){number}(?!,?\d)", BENCHMARKS), number


def test_answers_at_once_are_half_of_what_a_core_can_write() -> None:
    for what, figure, plan in rows():
        if "tokens per CPU-second" in figure:
            most = float(figure.split()[0].replace(",", "")) / TOKENS_PER_SECOND
            assert 0.9 <= int(plan.split()[0]) / (most / 2) <= 1.0, what
