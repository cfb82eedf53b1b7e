"""Shows an answer while it is written: as Markdown on a terminal, as it comes in a pipe."""

from __future__ import annotations

import re
import sys
import time
from itertools import pairwise
from typing import Protocol, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from app.cli.markdown import TerminalMarkdown
from app.observability.neutral import clean

REFRESH_SECONDS = 0.08
WHEEL = "|/-\\"
LONGEST_BLOCK = 20_000
"""Characters of a block that are drawn again as it grows; a longer one is printed in parts."""
MOST_MARKS = 1_000
"""A block with one of Markdown's marks this often is shown as text: parsing it takes the square of their number."""
_MARKS = "[]*_`<>!&|~\\"
QUIET_SECONDS = 1.5
"""After this long without text the screen shows that it is waiting."""


class Output(Protocol):
    """Where an answer goes. `aside` is text that is not part of it: tools, thinking; `note` a line of our own."""

    def text(self, chunk: str) -> None: ...

    def replace(self, text: str) -> None: ...

    def aside(self, kind: str, chunk: str) -> None: ...

    def note(self, words: str) -> None: ...

    def status(self, words: str | None) -> None: ...

    def tick(self) -> None: ...

    def pause(self) -> None:
        """Leave the terminal to somebody else until `resume`."""
        ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


class Silent:
    """Shows nothing: the answer is printed at the end, as a whole or as JSON."""

    def text(self, chunk: str) -> None:
        """Nothing."""

    def replace(self, text: str) -> None:
        """Nothing."""

    def aside(self, kind: str, chunk: str) -> None:
        """Nothing."""

    def note(self, words: str) -> None:
        """Nothing."""

    def status(self, words: str | None) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""

    def pause(self) -> None:
        """Nothing."""

    def resume(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Plain:
    """For pipes: writes every chunk at once, as it came, and nothing else; messages for the user go to `notes`."""

    def __init__(self, out: TextIO, notes: TextIO) -> None:
        self._out = out
        self._notes = notes
        self._shown = ""
        self._last = ""
        self._is_thinking = False
        self._status: str | None = None
        self._is_terminal = out.isatty()  # one that cannot draw

    def text(self, chunk: str) -> None:
        if self._is_thinking:
            self._is_thinking = False
            self._write("\n\n")
        self._shown += chunk
        self._write(chunk)

    def replace(self, text: str) -> None:
        if text.startswith(self._shown):
            self.text(text[len(self._shown) :])
        elif self._shown.startswith(text):
            self.note(f"the last {len(self._shown) - len(text)} characters were lost by the server and are not stored")
            self._shown = text
        else:
            self.note("the server stored a different text than it had sent; the stored answer follows")
            self._shown = text
            self._write("\n" + text)

    def aside(self, kind: str, chunk: str) -> None:
        self._is_thinking = kind == "thinking"
        self._write(chunk)

    def status(self, words: str | None) -> None:
        if words is not None and words != self._status:
            self.note(words)
        self._status = words

    def tick(self) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def close(self) -> None:
        if self._last and not self._last.endswith("\n"):
            self._write("\n")

    def _write(self, chunk: str) -> None:
        if chunk:
            self._out.write(clean(chunk) if self._is_terminal else chunk)
            self._out.flush()
            self._last = chunk

    def note(self, words: str) -> None:
        print(f"hector: {clean(words)}", file=self._notes, flush=True)


class Screen:
    """For terminals: a finished block is printed once, the last block is redrawn as it grows.

    So the terminal's scrollback holds the whole answer, each part once.
    `tick` it every REFRESH_SECONDS.
    """

    def __init__(self, console: Console, *, hint: str | None = None) -> None:
        self._console = console
        self._hint = hint
        self._text = ""
        self._printed = 0
        self._kind = "text"
        self._aside = ""
        self._is_first = True
        self._in_list = False
        self._words: str | None = None
        self._is_paused = False
        self._changed = True
        self._heard = time.monotonic()
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def text(self, chunk: str) -> None:
        self._turn_to("text")
        self._text += clean(chunk)
        self._settle(ends_line="\n" in chunk)

    def replace(self, text: str) -> None:
        self._turn_to("text")
        text = clean(text)
        if text[: self._printed] == self._text[: self._printed]:
            self._text = text
        else:
            self._flush()
            self._print(Text("The server stored less than it had sent. The answer as it is kept:", style="yellow"))
            self._text, self._printed = text, 0
        self._settle()

    def aside(self, kind: str, chunk: str) -> None:
        self._turn_to(kind)
        *lines, self._aside = (self._aside + clean(chunk)).split("\n")
        for line in lines:
            if line.strip():
                self._print(self._dim(line))
        self._touch()

    def note(self, words: str) -> None:
        self._turn_to("note")
        self._print(self._dim(clean(words)))
        self._touch(heard=False)

    def status(self, words: str | None) -> None:
        self._words = words
        self._touch(heard=False)

    def tick(self) -> None:
        """Draw what changed."""
        if self._is_paused:
            return
        waits = self._words is not None or time.monotonic() - self._heard > QUIET_SECONDS or not self._text
        if self._changed or waits:
            self._changed = False
            self._live.update(self._moving(waits=waits), refresh=True)

    def pause(self) -> None:
        self._flush()
        self._live.update(Group())
        self._live.stop()
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        self._live.start()
        self._touch()

    def close(self) -> None:
        """Print the rest; the screen cannot be used afterwards."""
        self._flush()
        self._live.update(Group())  # it draws what it has once more before it goes
        self._live.stop()

    # -- the part that is still moving ----------------------------------------------------------

    def _moving(self, *, waits: bool) -> RenderableType:
        parts: list[RenderableType] = []
        tail = self._text[self._printed :]
        if tail.strip():
            if self._wants_gap(tail):
                parts.append(Text(""))
            parts.append(_Block(tail, keep=max(self._console.height - 4, 1)))
        if self._aside:
            parts.append(self._dim(self._aside))
        if waits:
            parts.append(self._waiting())
        return Group(*parts)

    def _waiting(self) -> Text:
        now = time.monotonic()
        wheel = WHEEL[int(now / REFRESH_SECONDS) % len(WHEEL)]
        seconds = int(now - self._heard)
        words = self._words or ("still writing" if self._text else "thinking")
        hint = self._hint if self._words is None else None
        line = ", ".join(filter(None, [words, f"{seconds} s" if seconds else None, hint]))
        return Text(f"{wheel} {line}", style="dim", no_wrap=True, overflow="crop")

    # -- the part that stays --------------------------------------------------------------------

    def _turn_to(self, kind: str) -> None:
        if kind != self._kind:
            self._flush()
            self._kind = kind

    def _settle(self, *, ends_line: bool = True) -> None:
        stable, _ = split_stable(self._text[self._printed :]) if ends_line else ([], "")
        for piece in stable:
            self._print_piece(piece)
        while len(self._text) - self._printed > LONGEST_BLOCK:
            end = self._printed + LONGEST_BLOCK
            self._print_piece(self._text[self._printed : self._text.rfind("\n", self._printed, end) + 1 or end])
        self._touch()

    def _flush(self) -> None:
        self._settle()
        if self._printed < len(self._text):
            self._print_piece(self._text[self._printed :])
        if self._aside:
            self._print(self._dim(self._aside))
            self._aside = ""

    def _print_piece(self, piece: str) -> None:
        self._printed += len(piece)
        if piece.strip():
            self._print(_Block(piece), gap=self._wants_gap(piece))
            self._in_list = _ITEM.match(piece) is not None

    def _wants_gap(self, piece: str) -> bool:
        """Whether an empty line belongs before it: between blocks, not between the items of a list."""
        return not self._is_first and not (self._in_list and _ITEM.match(piece))

    def _print(self, what: RenderableType, *, gap: bool = False) -> None:
        self._live.update(self._moving(waits=False), refresh=True)  # printing draws it again: without what moves up
        if gap:
            self._live.console.print()
        self._is_first = False
        self._live.console.print(what, end="" if isinstance(what, _Block) else "\n")

    def _dim(self, line: str) -> Text:
        return Text(line, style="dim italic" if self._kind == "thinking" else "dim")

    def _touch(self, *, heard: bool = True) -> None:
        self._changed = True
        if heard:
            self._heard = time.monotonic()


_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_ITEM = re.compile(r"\s{0,3}(?:[-*+]|\d{1,9}[.)])\s")


def split_stable(source: str) -> tuple[list[str], str]:
    """Blocks of Markdown that more text cannot change, and the rest. Together they are the source.

    A block is stable once another begins below it; of a list, each item once the next begins.
    """
    if "\n" not in source or _is_degenerate(source):
        return [], source
    starts: list[int] = []
    for token in TerminalMarkdown(source).parsed:
        if token.map is None or token.nesting < 0:
            continue
        if (token.level == 0 and token.type not in ("bullet_list_open", "ordered_list_open")) or (
            token.level == 1 and token.type == "list_item_open"
        ):
            starts.append(token.map[0])
    lines = _LINES.findall(source)  # splitlines knows more ends of a line than Markdown does
    cuts = [0, *starts[1:], len(lines)]
    pieces = ["".join(lines[begin:end]) for begin, end in pairwise(cuts)]
    return pieces[:-1], pieces[-1]


def _is_degenerate(source: str) -> bool:
    return len(source) > MOST_MARKS and any(source.count(mark) > MOST_MARKS for mark in _MARKS)


class _Block:
    """Markdown without empty lines around it; with `keep` only its last lines.

    What does not fit on the screen must not be drawn again and again on it.
    """

    def __init__(self, source: str, *, keep: int | None = None) -> None:
        self._what = Text(source) if _is_degenerate(source) else TerminalMarkdown(source)
        self._keep = keep

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._what, options, pad=False)
        while lines and _is_empty(lines[-1]):
            lines.pop()
        while lines and _is_empty(lines[0]):
            lines.pop(0)
        for line in lines[-self._keep :] if self._keep is not None else lines:
            yield from _trimmed(line)
            yield Segment.line()


def _trimmed(line: list[Segment]) -> list[Segment]:
    """Without the blanks at the end: in a terminal that is made narrower they would become lines."""
    end = len(line)
    while end and _is_empty(line[end - 1 : end]):
        end -= 1
    kept = line[:end]
    if kept and not (kept[-1].style is not None and kept[-1].style.bgcolor):
        kept[-1] = Segment(kept[-1].text.rstrip(" "), kept[-1].style)
    return kept


def _is_empty(line: list[Segment]) -> bool:
    """Nothing on it, not even a background."""
    return all(not segment.text.strip() and (segment.style is None or not segment.style.bgcolor) for segment in line)


def make_output(*, hint: str | None = None, out: TextIO | None = None) -> Output:
    """A screen if standard output is a terminal that can draw one."""
    console = Console(file=out)
    if console.is_terminal and not console.is_dumb_terminal:
        return Screen(console, hint=hint)
    return Plain(out or sys.stdout, sys.stderr)
