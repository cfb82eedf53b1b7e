"""A terminal as far as our output needs one: what stands on it in the end, scrolled away or not."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b(?:\[([?>]?)([\d;]*)([A-Za-z])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[=>()][0B]?)")


class Emulator:
    """Feed it what a program writes; `text` is everything from the first line on. Knows no colours, no wide letters."""

    def __init__(self, width: int = 60, height: int = 20) -> None:
        self.width = width
        self.height = height
        self._lines: list[list[str]] = [[]]
        self._row = 0
        self._column = 0
        self._rest = ""

    @property
    def text(self) -> str:
        return "\n".join(["".join(line).rstrip() for line in self._lines]).rstrip()

    def feed(self, written: str) -> None:
        written, self._rest = self._rest + written, ""
        place = 0
        while place < len(written):
            if written[place] == "\x1b":
                found = _SEQUENCE.match(written, place)
                if found is None:
                    if len(written) - place < 40:
                        self._rest = written[place:]
                        return
                    raise AssertionError(f"unknown: {written[place : place + 20]!r}")
                self._obey(found[1], found[2], found[3])
                place = found.end()
            else:
                self._put(written[place])
                place += 1

    def _put(self, letter: str) -> None:
        if letter == "\n":
            self._down()
        elif letter == "\r":
            self._column = 0
        elif letter == "\b":
            self._column = max(self._column - 1, 0)
        elif letter != "\x07":
            if self._column >= self.width:
                self._column = 0
                self._down()
            line = self._lines[self._row]
            line.extend(" " * (self._column + 1 - len(line)))
            line[self._column] = letter
            self._column += 1

    def _down(self, count: int = 1) -> None:
        self._row += count
        while self._row >= len(self._lines):
            self._lines.append([])

    def _obey(self, private: str | None, numbers: str | None, letter: str | None) -> None:
        if private or letter is None or letter in "mhlnrtq":
            return
        count = int((numbers or "").partition(";")[0] or 0)
        top = max(len(self._lines) - self.height, 0)
        match letter:
            case "A":
                self._row = max(self._row - max(count, 1), top)
            case "B":
                self._down(max(count, 1))
            case "C":
                self._column += max(count, 1)
            case "D":
                self._column = max(self._column - max(count, 1), 0)
            case "G":
                self._column = max(count, 1) - 1
            case "K":
                line = self._lines[self._row]
                del line[0 if count == 2 else self._column :]
            case "J":
                del self._lines[self._row][self._column :]
                del self._lines[self._row + 1 :]
            case _:
                raise AssertionError(f"unknown: {numbers}{letter}")
