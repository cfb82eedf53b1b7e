"""Cutting messages: head and tail within a number of tokens, whatever the text is."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm import tokens
from app.memory.working import Entry, calls_entry, entry, tool_entry
from app.turns.cutting import cut, cut_result, cut_said, cut_user

MARK = "\n[… {} left out …]\n"
TEXTS = st.text(min_size=1, max_size=3000) | st.sampled_from(["word " * 2000, "x" * 9000, "猫" * 4000, " \n" * 4000])


@given(TEXTS, st.integers(10, 500))
def test_what_is_cut_has_head_and_tail_and_fits(text: str, most: int) -> None:
    short = cut(text, most, tokens.count, mark=MARK)
    assert tokens.count(short) <= most
    if len(parts := short.split("\n[… ", 1)) == 2 and "]" in parts[1]:
        assert text.startswith(parts[0])


def test_the_mark_says_how_much_is_missing() -> None:
    text = "a" * 3000 + "b" * 3000
    short = cut(text, 60, tokens.count, mark=MARK)
    head, tail = short.split("\n[… ")[0], short.split(" …]\n")[1]
    assert f"{6000 - len(head) - len(tail):,} left out" in short
    assert text.startswith(head)
    assert text.endswith(tail)
    assert head
    assert tail


@pytest.mark.parametrize(
    "message",
    [
        tool_entry("1", "look", "word " * 900, "m1", 7, handle="res_1"),
        entry("assistant", "word " * 900, "m1", 7),
        calls_entry("word " * 900, [("1", "write", orjson.dumps({"text": "word " * 900}).decode())], "m1", 7),
        entry("user", "word " * 900, "m1", 7),
    ],
)
def test_a_cut_message_is_still_the_same_message(message: Entry) -> None:
    change = {"tool": cut_result, "assistant": cut_said, "user": cut_user}[message.role]
    short = change(message, 100, tokens.count)
    assert short.count(tokens.count) < 160
    assert (short.role, short.call_ids, short.message_id, short.seq) == (message.role, message.call_ids, "m1", 7)
    assert [call[:2] for call in short.calls()] == [call[:2] for call in message.calls()]
    assert "left out" in short.text()


def test_what_is_short_stays_as_it_is() -> None:
    short = tool_entry("1", "look", "word " * 20)
    assert cut_result(short, 100, tokens.count) is short
    said = calls_entry("Well.", [("1", "write", '{"path": "a"}')])
    assert cut_said(said, 100, tokens.count) is said
