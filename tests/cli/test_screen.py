"""What stands on a terminal, and what goes into a pipe, while an answer grows."""

from __future__ import annotations

import io
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from app.cli.screen import Plain, Screen, split_stable
from tests.cli.emulator import Emulator

LONG = (
    "# Title\n\nSome *words* here.\n\n1. one\n2. two\n   - inner\n3. three\n\n"
    "```python\nx = 1\ny = 2\n```\n\n> quoted\n\nEnd.\n"
)


class Terminal:
    """A screen on an emulated terminal."""

    def __init__(self, *, width: int = 40, height: int = 12) -> None:
        self._out = io.StringIO()
        self._emulator = Emulator(width, height)
        console = Console(
            file=self._out, force_terminal=True, force_interactive=True, width=width, height=height, _environ={}
        )
        self.screen = Screen(console, hint="Ctrl-C stops")

    @property
    def text(self) -> str:
        self._emulator.feed(self._out.getvalue().replace("\n", "\r\n"))  # as a terminal's driver does
        self._out.seek(0)
        self._out.truncate()
        return self._emulator.text

    @property
    def written(self) -> str:
        return self._out.getvalue()


def shown(source: str, *, size: int = 1, height: int = 12) -> str:
    """The terminal after `source` came in pieces of `size`, drawn after each."""
    terminal = Terminal(height=height)
    for place in range(0, len(source), size):
        terminal.screen.text(source[place : place + size])
        terminal.screen.tick()
    terminal.screen.close()
    return terminal.text


def test_an_answer_in_pieces_ends_up_like_one_in_whole() -> None:
    assert shown(LONG) == shown(LONG, size=len(LONG))


def test_blocks_are_set_apart_and_items_of_a_list_are_not() -> None:
    lines = [line.rstrip() for line in shown("Look:\n\n- one\n- two\n- three\n\nEnd.\n").splitlines()]

    assert lines == ["Look:", "", " • one", " • two", " • three", "", "End."]


@pytest.mark.parametrize("height", [5, 8, 30])
def test_what_is_taller_than_the_screen_stands_there_once_and_whole(height: int) -> None:
    code = "\n".join([f"line{number}" for number in range(25)])

    text = shown(f"Before\n\n```\n{code}\n```\n\nAfter", size=7, height=height)

    assert text.split() == ["Before", *code.split(), "After"]


def test_no_line_ends_in_blanks_that_a_narrower_terminal_would_wrap() -> None:
    terminal = Terminal()
    terminal.screen.text("- one\n- two\n\nA **bold** end.\n\n> quoted\n\n|a|b|\n|-|-|\n|1|2|\n\nEnd.")
    terminal.screen.close()

    assert " \n" not in re.sub(r"\x1b\[[\d;?]*\w", "", terminal.written)


def test_a_snapshot_takes_back_what_was_still_moving() -> None:
    terminal = Terminal()
    terminal.screen.text("First block.\n\nSecond blo")
    terminal.screen.tick()
    terminal.screen.replace("First block.\n\nSec")
    terminal.screen.close()

    assert terminal.text == "First block.\n\nSec"


def test_a_snapshot_of_less_than_was_printed_is_told() -> None:
    terminal = Terminal(width=80)
    terminal.screen.text("First block.\n\nSecond.")
    terminal.screen.replace("First")
    terminal.screen.close()

    assert terminal.text.endswith("The answer as it is kept:\n\nFirst")


def test_a_model_cannot_send_commands_to_the_terminal() -> None:
    terminal = Terminal()
    terminal.screen.text("a\x1b[2Jb\x07c\x9b31md \x1b]0;title\x07")
    terminal.screen.aside("tool_call", "\x1b[31m[Tool]\n")
    terminal.screen.close()

    assert "\x1b[2J" not in terminal.written
    assert "\x9b" not in terminal.written
    assert "\x1b]0" not in terminal.written
    assert terminal.text.startswith("a[2Jbc31md")


def test_tools_stand_on_lines_of_their_own_between_the_text() -> None:
    terminal = Terminal()
    terminal.screen.text("Let me look.")
    terminal.screen.aside("tool_call", '\n[Tool: search("x")]\n')
    terminal.screen.text("Found it.")
    terminal.screen.close()

    assert terminal.text == 'Let me look.\n[Tool: search("x")]\n\nFound it.'


def test_a_long_wait_is_told_on_one_line_even_if_the_terminal_is_narrow() -> None:
    terminal = Terminal(width=20)
    terminal.screen.status("the server is restarting; trying again")
    terminal.screen.tick()

    assert terminal.text[2:] == "the server is rest"
    terminal.screen.close()
    assert terminal.text == ""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "# h\n",
                "- a\n",
                "  - b\n",
                "1. c\n",
                "\n",
                "text ",
                "more\n",
                "```\n",
                "> q\n",
                "|a|b|\n",
                "|-|-|\n",
                "    ",
            ]
        ),
        max_size=14,
    ).map("".join)
)
def test_pieces_are_the_source_and_stay_what_they_are(source: str) -> None:
    pieces, rest = split_stable(source)
    later, _ = split_stable(source + "\n\nanything\n")

    assert "".join(pieces) + rest == source
    assert later[: len(pieces)] == pieces


def test_lines_that_only_unicode_knows_cut_nothing() -> None:
    source = "a\u2028b\n\nc\x85d\n\ne"

    pieces, rest = split_stable(source)

    assert (pieces, rest) == (["a\u2028b\n\n", "c\x85d\n\n"], "e")


# -- pipes ------------------------------------------------------------------------------------------


@pytest.fixture
def pipe() -> tuple[Plain, io.StringIO, io.StringIO]:
    out, notes = io.StringIO(), io.StringIO()
    return Plain(out, notes), out, notes


def test_a_pipe_gets_the_rest_of_a_snapshot(pipe: tuple[Plain, io.StringIO, io.StringIO]) -> None:
    plain, out, notes = pipe
    plain.text("one ")
    plain.replace("one two")
    plain.close()

    assert (out.getvalue(), notes.getvalue()) == ("one two\n", "")


def test_a_pipe_cannot_be_taken_back_from_and_that_is_said(pipe: tuple[Plain, io.StringIO, io.StringIO]) -> None:
    plain, out, notes = pipe
    plain.text("one two")
    plain.replace("one ")
    plain.close()

    assert out.getvalue() == "one two\n"
    assert "the last 3 characters were lost" in notes.getvalue()


def test_thinking_and_answer_do_not_run_into_each_other(pipe: tuple[Plain, io.StringIO, io.StringIO]) -> None:
    plain, out, _ = pipe
    plain.aside("thinking", "hm")
    plain.text("Yes.")
    plain.close()

    assert out.getvalue() == "hm\n\nYes.\n"


# -- tables -----------------------------------------------------------------------------------------

MODELS = """\
| model | provider | context | price |
|:--|---|--:|---|
| claude-opus-4-5 | Anthropic | 1,000,000 | 5 dollars a million tokens in, 25 out |
| gpt-5-mini | OpenAI | 400,000 | 0.25 in |
"""
ADDRESSES = (
    f"| what | where |\n|---|---|\n| docs | https://example.com/{'a' * 90} |\n| 模型 | 非常长的中文说明文字在这里 |\n"
)


def table(source: str, width: int) -> str:
    terminal = Terminal(width=width, height=40)
    terminal.screen.text(source)
    terminal.screen.close()
    return terminal.text


@pytest.mark.parametrize("width", [200, 80, 60, 40, 24, 12])
def test_a_table_keeps_its_text_at_every_width(width: int) -> None:
    for source in (MODELS, ADDRESSES):
        shown = table(source, width)
        cells = [cell.strip() for line in source.splitlines()[2:] for cell in line.strip("|").split("|")]

        assert "…" not in shown
        for cell in cells:
            for word in cell.split():
                assert word in "".join(shown.split()), (word, shown)


@pytest.mark.parametrize("width", [200, 80, 60, 40])
def test_words_of_a_table_stay_whole_while_they_fit(width: int) -> None:
    shown = table(MODELS, width)

    for word in MODELS.replace("|", " ").split():
        assert "-" * 3 in word or ":-" in word or "-:" in word or word in shown.split() or f"{word}:" in shown.split()


def test_a_table_too_narrow_for_its_words_is_a_list_of_records() -> None:
    lines = table(MODELS, 40).splitlines()

    assert lines[:5] == [
        "model: claude-opus-4-5",
        "provider: Anthropic",
        "context: 1,000,000",
        "price: 5 dollars a million tokens in, 25",
        "out",
    ]
    assert "provider: OpenAI" in lines


def test_a_table_that_has_room_is_one_line_a_row() -> None:
    lines = [line.split() for line in table("|a|b|\n|-|-|\n|1|2|\n|3|4|", 40).splitlines() if line.strip()]

    assert [line for line in lines if line[0] in "a13"] == [["a", "b"], ["1", "2"], ["3", "4"]]


ORDINARY = "Some *words* of an answer, with a `name` and a [link](https://example.org).\n\n"
DEGENERATE = ("[", "[](", "![a](b", "**a*", "`` ` ", "> ", "- 1. ", "|a", "<a ", "&amp", "\\", "_")


def drawing_seconds(source: str) -> float:
    """CPU time of an answer that is drawn while it grows."""
    terminal = Terminal(height=24)
    started = time.process_time()
    for start in range(0, len(source), 4_000):
        terminal.screen.text(source[start : start + 4_000])
        terminal.screen.tick()
    terminal.screen.close()
    return time.process_time() - started


def test_degenerate_markdown_is_drawn_in_a_time_like_that_of_ordinary_text() -> None:
    """To parse 60 KB of opening brackets took minutes: such a block is shown as it is."""
    usual = drawing_seconds(ORDINARY * 30)

    assert [unit for unit in DEGENERATE if drawing_seconds(unit * (12_000 // len(unit))) > 10 * usual] == []


def test_a_block_without_end_is_printed_in_parts() -> None:
    terminal = Terminal()
    for _ in range(10):
        terminal.screen.text("word " * 1_000)
    terminal.screen.close()

    assert terminal.written.count("word") >= 10_000
