"""What others wrote reaches terminals and logs without its controls."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from app.cli.run import complain, print_json
from app.observability.logs import JSONFormatter, TextFormatter
from app.observability.neutral import clean, escape, escape_json

HOSTILE = {
    "title of the terminal": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;b3duZWQ=\x1b\\",
    "clear screen": "\x1b[2J",
    "C1": "\x9b2J",
    "backspace": "safe\x08\x08\x08\x08evil",
    "carriage return": "harmless\rhector: all is well",
    "delete": "a\x7f",
    "override of direction": "\u202egpj.exe",
    "isolate": "\u2066evil\u2069",
    "separator of lines": "a\u2028b",
    "separator of paragraphs": "a\u2029b",
    "next line": "a\x85b",
}
UNSAFE = {
    chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
UNSAFE |= {"\u2028", "\u2029"}
KINDS = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


@KINDS
def test_a_terminal_is_shown_no_controls(text: str) -> None:
    assert not set(clean(text)) & (UNSAFE - {"\n", "\t"})


@KINDS
def test_an_escaped_text_is_one_line_without_controls(text: str) -> None:
    assert not set(escape(text)) & UNSAFE


@KINDS
def test_json_stays_the_same_value(text: str) -> None:
    shown = escape_json(json.dumps({"text": text}, ensure_ascii=False))

    assert json.loads(shown) == {"text": text}
    assert not set(shown) & UNSAFE


@pytest.mark.parametrize("text", ["Grüße, 你好, שלום\u200f, 👩🏽\u200d💻", "one\ttab\nand a line", "می\u200cخواهم"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


@KINDS
def test_a_complaint_is_harmless_and_begins_no_line_of_its_own(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    complain(f"the provider says: {text}\nhector: forged")
    first, *others = capsys.readouterr().err.removesuffix("\n").split("\n")

    assert first.startswith("hector: the provider says: ")
    assert all(line.startswith("  ") for line in others)
    assert not set("".join([first, *others])) & UNSAFE


@KINDS
def test_printed_json_has_no_controls(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"answer": text})
    shown = capsys.readouterr().out

    assert json.loads(shown) == {"answer": text}
    assert not set(shown) & (UNSAFE - {"\n"})


@KINDS
@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()], ids=["text", "json"])
def test_a_message_is_one_line_of_the_log(text: str, formatter: logging.Formatter) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    forged = f"{text}\n2026-01-01 00:00:00 ERROR   forged"
    for message, arguments in (("%s is not read", (forged,)), (forged, ())):
        handler.emit(logging.getLogger("app.x").makeRecord("app.x", logging.WARNING, "f", 1, message, arguments, None))
    lines = out.getvalue().removesuffix("\n").split("\n")

    assert len(lines) == 2
    assert not set("".join(lines)) & UNSAFE


def test_a_traceback_is_set_in_so_that_it_forges_no_line() -> None:
    try:
        raise ValueError("\x1b[2J\n2026-01-01 00:00:00 ERROR   forged")
    except ValueError:
        record = logging.getLogger("app.x").makeRecord("app.x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    first, *others = TextFormatter().format(record).split("\n")

    assert first.endswith("ERROR   failed")
    assert others
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in "".join(others)
