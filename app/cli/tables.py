"""Rows for people: a table on a terminal, tabs in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.screen import clean


def print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column is an id to copy and is never cut. In a pipe: no headings, no colours, tabs between columns."""
    console = Console(highlight=False)
    if not console.is_terminal:
        for row in rows:
            print("\t".join([_flat(cell) for cell in row]))
        return
    console.print(_table(headings, rows))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(heading, overflow="fold" if place == 0 else "ellipsis", no_wrap=place != 0)
    for row in rows:
        table.add_row(*[_flat(cell) for cell in row])
    return table


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


def session_table(sessions: Sequence[dict[str, Any]], *, current: str | None) -> Table:
    """Numbered rows, to choose from in chat."""
    rows = []
    for number, session in enumerate(sessions, 1):
        row = session_row(session)
        if session["session_id"] == current:
            row[1] += " (this)"
        rows.append([str(number), *row])
    return _table(["", *SESSION_HEADINGS], rows)


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
