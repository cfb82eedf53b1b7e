"""Markdown for a terminal: rich's, with headings at the left and tables that keep their text however narrow it is."""

from __future__ import annotations

from typing import ClassVar

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement, TableElement
from rich.table import Table
from rich.text import Text

LONGEST_WORD = 24
"""Cells: longer words, such as addresses, may be cut into lines before a table becomes a list."""
GAP = 1
"""Cells between two columns, and at each edge, by rich's `SIMPLE` box without padding at the edges."""


class _LeftHeading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        yield self.text


class _WholeTable(TableElement):
    """A table whose words stay whole; where they do not fit beside each other, a list with a record for each row."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        headings = [cell.content for cell in self.header.row.cells] if self.header and self.header.row else []
        rows = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body else []
        widths = column_widths([headings, *rows], options.max_width)
        if widths is not None:
            yield _table(headings, rows, widths)
        else:
            yield _records(headings, rows)


def _table(headings: list[Text], rows: list[list[Text]], widths: list[int]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, style="markdown.table.border", show_edge=True, collapse_padding=True)
    for heading, width in zip(headings, widths, strict=True):
        shown = heading.copy()
        shown.stylize("markdown.table.header")
        table.add_column(shown, width=width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _records(headings: list[Text], rows: list[list[Text]]) -> Text:
    """`heading: text` lines, an empty line between rows; a table without rows is its headings."""
    lines: list[Text] = []
    for number, row in enumerate(rows or [headings]):
        if number:
            lines.append(Text())
        for heading, cell in zip(headings, row, strict=False):
            name = heading.copy()
            name.stylize("bold")
            lines.append(Text.assemble(name, ": ", cell) if rows and heading.plain else cell)
    text = Text("\n").join(lines)
    text.justify, text.overflow = "left", "fold"
    return text


def column_widths(rows: list[list[Text]], room: int) -> list[int] | None:
    """Widths in cells at which every word fits, or `None` when `room` is too small for that."""
    columns = max(map(len, rows), default=0)
    least, most = [1] * columns, [1] * columns
    for row in rows:
        for place, cell in enumerate(row):
            words = [cell_len(word) for word in cell.plain.split()]
            least[place] = max(least[place], min(max(words, default=1), LONGEST_WORD))
            most[place] = max(most[place], cell_len(cell.plain))
    rest = room - sum(least) - (columns + 1) * GAP - max(columns - 1, 0)
    if rest < 0:
        return None
    widths = least
    while rest > 0 and (needy := [place for place in range(columns) if widths[place] < most[place]]):
        place = max(needy, key=lambda place: most[place] - widths[place])
        widths[place] += 1
        rest -= 1
    return widths


class TerminalMarkdown(Markdown):
    """Markdown as rich draws it, but for headings and tables."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
        "table_open": _WholeTable,
    }
