"""Rows for people: a table on a terminal, tabs in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.observability.neutral import clean

LEAST = 8
"""Characters that a column is cut to at most."""
BETWEEN = 3
"""Cells between two columns."""

STRONG, FAIR = 0.2, 0.05
"""Least scores (docs/benchmarks.md)."""


def print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; the first column is an id to copy and is never cut. Where the terminal is too narrow: a record a row.

    In a pipe: no headings, no colours, tabs between columns.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        for row in rows:
            print("\t".join([_flat(cell) for cell in row]))
        return
    console.print(_table(headings, rows, room=console.width))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, room: int, whole: int = 1) -> Table | Text:
    """The first `whole` columns are not cut."""
    cells = [[_flat(cell) for cell in row] for row in rows]
    widths = _widths([headings, *cells], room - 2, whole)
    if widths is None:
        return _records(headings, cells)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(heading, width=width, overflow="ellipsis", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    return table


def _widths(rows: Sequence[Sequence[str]], room: int, whole: int) -> list[int] | None:
    """The widest columns give way, down to LEAST; `None` when that is not enough."""
    widths = [max([cell_len(row[place]) for row in rows]) for place in range(len(rows[0]))]
    room -= BETWEEN * (len(widths) - 1)
    while (excess := sum(widths) - room) > 0:
        place = max(range(whole, len(widths)), key=lambda place: widths[place])
        if widths[place] <= LEAST:
            return None
        widths[place] = max(widths[place] - excess, LEAST)
    return widths


def _records(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Text:
    """`heading  value` lines without what is empty, an empty line between rows."""
    wide = max(map(len, headings))
    records = [
        Text("\n").join(
            [
                Text(f"{heading:<{wide}}  ", style="bold").append(cell, style="not bold")
                for heading, cell in zip(headings, row, strict=True)
                if cell
            ]
        )
        for row in rows
    ]
    return Text("\n\n").join(records)


def print_pairs(pairs: list[tuple[str, str]]) -> None:
    """Empty values are omitted. In a pipe: name, tab, value."""
    console = Console(highlight=False)
    wide = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        shown = clean(value)
        if not shown:
            continue
        if console.is_terminal:
            console.print(Text(f"{name:<{wide}}  ", style="bold").append(shown, style="not bold"))
        else:
            print(f"{name}\t{' '.join(shown.split())}")


SESSION_HEADINGS = ("session", "status", "messages", "active", "title")


def session_row(session: dict[str, Any]) -> list[str]:
    status = "ending" if session.get("ending") else session["status"]
    return [
        session["session_id"],
        status,
        str(session["message_count"]),
        ago(session["active_at"]),
        session.get("title") or "",
    ]


def session_table(sessions: Sequence[dict[str, Any]], *, current: str | None, room: int) -> Table | Text:
    """Numbered rows, to choose from in chat, in `room` cells; the current session has a star."""
    rows = []
    for number, session in enumerate(sessions, 1):
        mark = "*" if session["session_id"] == current else ""
        rows.append([f"{number}{mark}", *session_row(session)])
    return _table(["", *SESSION_HEADINGS], rows, room=room, whole=2)


def ago(moment: str | None) -> str:
    """`3 min ago`; the date after a week."""
    if moment is None:
        return "never"
    then = datetime.fromisoformat(moment)
    seconds = (datetime.now(UTC) - then).total_seconds()
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word} ago" if seconds < 7 * 86400 else f"{then.astimezone():%Y-%m-%d}"
    return "just now" if seconds < 10 else f"{int(seconds)} s ago"


def moment(given: str | None) -> str:
    return f"{datetime.fromisoformat(given).astimezone():%Y-%m-%d %H:%M:%S}" if given else "-"


def _flat(cell: str) -> str:
    """On one line and without control characters, which a title may contain."""
    return clean(" ".join(cell.split()))


def fit_words(score: float) -> str:
    """How well a memory fits a question, for people. What fits strongly holds the answer in two of five cases."""
    return "strong" if score >= STRONG else "fair" if score >= FAIR else "weak"
