"""Rows for people at every width of a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from app.cli.tables import SESSION_HEADINGS, _table

ID = "sess_1k80bgmb2rj36q30petlbm"
TITLE = "A title that goes on and on: more than sixty characters of it, in one line and without an end"
ROWS = [[ID, "active", "12", "3 min ago", TITLE], ["mine", "ended", "2", "2026-01-01", "模型 的 名字"]]


def printed(width: int, *, whole: int = 1, headings: tuple[str, ...] = SESSION_HEADINGS) -> list[str]:
    out = io.StringIO()
    rows = ROWS if len(headings) == 5 else [[str(number), *row] for number, row in enumerate(ROWS, 1)]
    Console(file=out, width=width).print(_table(headings, rows, room=width, whole=whole))
    return [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40, 20])
def test_ids_states_and_ages_are_whole_at_every_width(width: int) -> None:
    shown = "".join(printed(width)).replace(" ", "")

    for cell in (ID, "active", "12", "3minago", "mine", "ended", "2026-01-01", "Atitle"):
        assert cell in shown, cell


def test_a_long_title_is_cut_and_nothing_else() -> None:
    lines = printed(80)

    assert all(len(line) <= 80 for line in lines)
    assert lines[2].split()[:6] == [ID, "active", "12", "3", "min", "ago"]
    assert lines[2].endswith("…")
    assert "…" not in "".join([*lines[:2], *lines[3:]])


def test_on_a_narrow_terminal_each_row_is_a_record() -> None:
    assert printed(40)[:4] == [f"session   {ID}", "status    active", "messages  12", "active    3 min ago"]


def test_numbers_to_choose_by_are_kept_with_the_ids() -> None:
    lines = printed(80, whole=2, headings=("", *SESSION_HEADINGS))

    assert lines[2].split()[:2] == ["1", ID]
