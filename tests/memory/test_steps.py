"""Steps in working memory: selected, dropped and summed up as one; their results give way before anything else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm import tokens
from app.memory.buffer_window import BufferWindow
from app.memory.clearing import LEAST_BYTES, clear, line_of
from app.memory.steps import TOLD_ARGUMENTS, TOLD_RESULT, border, in_words, steps, told
from app.memory.summary_buffer import SummaryBuffer
from app.memory.working import Entry, calls_entry, entry, tool_entry

KINDS = st.lists(st.sampled_from(["u", "a", "c1", "c2", "c3"]), min_size=1, max_size=16)
LONG = "A long line of output. " * 60


def at(place: object) -> str:
    return f'{{"at": "{place}"}}'


def talk(*kinds: str, result: str = "Fine.") -> list[Entry]:
    """`u` and `a` are texts, `c2` is a step of two calls with their results."""
    made: list[Entry] = []
    for kind in kinds:
        seq = len(made) + 1
        if kind[0] != "c":
            made.append(entry("user" if kind == "u" else "assistant", f"text {seq}", f"m{seq}", seq))
            continue
        calls = [(f"{seq}.{place}", "look", at(place)) for place in range(int(kind[1]))]
        made.append(calls_entry("", calls, f"m{seq}", seq))
        made += [
            tool_entry(call_id, "look", result, f"m{seq + place}", seq + place, handle=f"res_{call_id}")
            for place, (call_id, *_) in enumerate(calls, 1)
        ]
    return made


def is_whole(selected: Sequence[Entry]) -> bool:
    """Whether every call has its results behind it, and every result its call."""
    return all(
        [one.call_ids for one in step[1:]] == [(call_id,) for call_id in step[0].call_ids if step[0].role != "tool"]
        and step[0].role != "tool"
        for step in steps(selected)
    )


@given(KINDS, st.integers(1, 9), st.integers(0, 9))
def test_a_buffer_window_never_cuts_a_step(kinds: list[str], size: int, step_messages: int) -> None:
    history = talk(*kinds)
    selected = BufferWindow(size, step_messages=step_messages).select(history)
    assert is_whole(selected)
    assert selected
    assert list(selected) == history[-len(selected) :]
    assert len([one for one in selected if not one.call_ids]) <= size


def test_a_buffer_window_counts_what_was_said_and_not_the_steps_between() -> None:
    history = talk("u", "a", "u", *["c2"] * 9, "a", "u")
    assert list(BufferWindow(3).select(history)) == history[2:]
    assert not BufferWindow(3).wants_more(history[2:])
    assert BufferWindow(4).wants_more(history[2:])
    assert len(BufferWindow(3, step_messages=5).select(history)) == 8
    assert not BufferWindow(9, step_messages=5).wants_more(history[-14:])


@given(KINDS, st.integers(1, 300), st.integers(0, 100))
def test_a_summary_buffer_never_cuts_a_step(kinds: list[str], budget: int, taken: int) -> None:
    buffer, history = SummaryBuffer(budget, tokens.count), talk(*kinds)
    for selected in (buffer.select(history, taken=taken), buffer.renew(history), history[buffer.cut(history) :]):
        assert is_whole(selected)
        assert selected
    places = [portion.upto for portion in buffer.portions(history)]
    assert places[-1] == len(history)
    assert all(border(history, place) == place for place in places)


@given(KINDS, st.integers(0, 40))
def test_a_border_is_never_inside_a_step(kinds: list[str], start: int) -> None:
    history = talk(*kinds)
    place = border(history, min(start, len(history)))
    assert is_whole(history[:place])
    assert is_whole(history[place:])


# -- results give way -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "handle", "line"),
    [
        (
            "look",
            "res_1",
            '[result of look was removed to save room: 1380 characters; read_result("res_1") gives it back]',
        ),
        ("look", None, "[result of look was removed to save room: 1380 characters]"),
        ("", None, "[result of a call was removed to save room: 1380 characters]"),
    ],
)
def test_a_line_stands_for_a_result(name: str, handle: str | None, line: str) -> None:
    result = tool_entry("1", name, LONG, "m1", 7, handle=handle)
    made = line_of(result)
    assert made.text() == line
    assert (made.call_ids, made.message_id, made.seq, made.role) == (("1",), "m1", 7, "tool")
    assert line_of(result) is made


@given(KINDS, st.integers(0, 2000))
def test_clearing_goes_from_the_oldest_on_and_no_further_than_it_has_to(kinds: list[str], room: int) -> None:
    history = talk(*kinds, result=LONG)
    shown = clear(history, room=room, count_tokens=tokens.count)
    gone = [new is not old for old, new in zip(history, shown, strict=True)]
    results = [is_gone for is_gone, one in zip(gone, history, strict=True) if one.result is not None]
    assert sum(gone) == sum(results)
    assert results == sorted(results, reverse=True)
    buffer = SummaryBuffer(room, tokens.count)
    assert all(results) or buffer.total(shown) <= room
    if any(results):
        last = max(place for place, is_gone in enumerate(gone) if is_gone)
        assert buffer.total([*shown[:last], history[last], *shown[last + 1 :]]) > room


def test_short_kept_and_spared_results_are_not_cleared() -> None:
    short, kept, spared = (
        tool_entry("1", "look", "x" * (LEAST_BYTES // 2)),
        tool_entry("2", "look", LONG, is_kept=True),
        tool_entry("3", "look", LONG),
    )
    messages = [short, kept, spared]
    assert clear(messages, room=0, count_tokens=tokens.count, spared={id(spared)}) == messages
    once = clear(messages, room=0, count_tokens=tokens.count)
    assert once[:2] == [short, kept]
    assert once[2] is line_of(spared)
    assert clear(once, room=0, count_tokens=tokens.count) == once


def test_old_results_are_not_counted_to_be_cleared() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return tokens.count(text)

    clear(talk(*["c1"] * 200, result=LONG), room=3000, count_tokens=count)
    assert len([text for text in counted if LONG in text]) < 12


def test_a_summary_buffer_clears_down_to_its_target() -> None:
    buffer, history = SummaryBuffer(2000, tokens.count), talk("u", *["c1"] * 12, "a", "u", result=LONG)
    cleared = buffer.clear(history, taken=300)
    assert buffer.total(cleared) <= buffer.target - 300
    assert buffer.clear(cleared, taken=300) is cleared, "once is enough"
    plain = talk("u", "a", "u")
    assert buffer.clear(plain) is plain


# -- summed up --------------------------------------------------------------------------------------------------------


def test_a_step_is_told_with_its_calls_and_results() -> None:
    step = [
        calls_entry("I write it.", [("1", "write_file", '{"path": "a.py"}'), ("2", "run", "{}"), ("3", "run", "{}")]),
        tool_entry("1", "write_file", "File created\n"),
        line_of(tool_entry("2", "run", LONG)),
    ]
    lines = ["I write it.", '[tool write_file({"path": "a.py"}): File created]', "[tool run({})]", "[tool run({})]"]
    assert told(step) == "\n".join(lines)
    assert told(step[1:2]) == "[tool write_file: File created]"


def test_what_is_long_is_told_in_short() -> None:
    step = [calls_entry("", [("1", "look", at(LONG))]), tool_entry("1", "look", "Begin " + LONG + "end")]
    line = told(step)
    assert "Begin A long" in line
    assert line.endswith("end]")
    assert len(line) < TOLD_ARGUMENTS + TOLD_RESULT + 20


def test_portions_hold_steps_as_text() -> None:
    buffer = SummaryBuffer(2000, tokens.count)
    (portion,) = buffer.portions(talk("u", "c2", "a"))
    lines = ["User: text 1", 'Assistant: [tool look({"at": "0"}): Fine.]', '[tool look({"at": "1"}): Fine.]']
    assert portion.text == "\n".join([*lines, "Assistant: text 5"])
    portions = list(buffer.portions(talk("u", *["c3"] * 60, "a", result=LONG)))
    assert len(portions) > 5
    assert all(tokens.count(portion.text) <= buffer.portion_tokens + 8 for portion in portions)


@given(KINDS)
def test_in_words_there_are_texts_only_with_the_numbers_of_what_they_tell(kinds: list[str]) -> None:
    history = talk(*kinds, result=LONG)
    words = list(in_words(history))
    assert not any(message.call_ids for message in words)
    assert [message.seq for message in words] == [step[-1].seq for step in steps(history)]
    assert all(message in history for message in words if "[tool look" not in message.text())
