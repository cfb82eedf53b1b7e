"""Entries of tools: what the model gets, what it costs, and forms that providers refuse."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm import tokens
from app.memory.working import NO_OUTPUT, Entry, Result, calls_entry, entry, tool_entry, with_text

CALLS = st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=3)


def test_calls_are_the_message_the_model_receives() -> None:
    made = calls_entry("", [("call_1", "write_file", '{"path": "a"}')], "msg_1", 7)
    function = b'{"name":"write_file","arguments":"{\\"path\\": \\"a\\"}"}'
    call = b'{"id":"call_1","type":"function","function":' + function + b"}"
    assert made.encoded == b'{"role":"assistant","content":null,"tool_calls":[' + call + b"]}"
    assert (made.text(), made.call_ids, made.message_id, made.seq) == ("", ("call_1",), "msg_1", 7)
    assert made.calls() == [("call_1", "write_file", '{"path": "a"}')]


def test_a_result_is_the_message_the_model_receives() -> None:
    made = tool_entry("call_1", "write_file", "Done", "msg_2", 8, handle="res_1", is_kept=True)
    assert made.encoded == b'{"role":"tool","tool_call_id":"call_1","content":"Done"}'
    assert (made.text(), made.call_ids, made.message_id, made.seq) == ("Done", ("call_1",), "msg_2", 8)
    assert made.result == Result("write_file", "res_1", is_kept=True)
    assert made.calls() == []
    assert tool_entry("call_1", "x", " \n").text() == NO_OUTPUT


def test_another_text_leaves_the_calls_as_they_are() -> None:
    calls = [("1", "look", '{"a":  1}'), ("2", "look", "{}")]
    assert with_text(calls_entry("", calls), "So").encoded == calls_entry("So", calls).encoded


@pytest.mark.parametrize(
    ("written", "sent"),
    [('{"a":  [1]}', '{"a":  [1]}'), ("", "{}"), ('{"a": 1', None), ("[1]", None), ("NaN", None)],
)
def test_arguments_of_old_calls_are_always_an_object(written: str, sent: str | None) -> None:
    ((_, _, arguments),) = calls_entry("", [("1", "look", written)]).calls()
    assert isinstance(orjson.loads(arguments), dict)
    assert sent in (None, arguments)


@pytest.mark.parametrize(
    ("name", "sent"), [("read_file", "read_file"), ("a b.c", "a_b_c"), ("", "unknown"), ("ü" * 90, "_" * 64)]
)
def test_names_of_old_calls_are_ones_that_providers_take(name: str, sent: str) -> None:
    assert calls_entry("", [("1", name, "{}")]).calls() == [("1", sent, "{}")]


@given(st.text(), CALLS)
def test_the_free_bound_is_a_bound_with_calls(text: str, calls: list[tuple[str, str, str]]) -> None:
    def bounded(made: Entry) -> bool:
        bound = made.at_most()
        return made.count(tokens.count) <= bound

    assert bounded(calls_entry(text, calls))
    assert bounded(tool_entry(calls[0][0], "look", text))


def test_calls_and_results_cost_what_is_in_them() -> None:
    def count(text: str) -> int:
        return len(text.split())

    assert entry("user", "one two").count(count) == 6
    assert calls_entry("one two", [("1", "look", '{"a": 1}'), ("2", "look", "{}")]).count(count) == 2 + 4 + 3 + 12
    assert tool_entry("1", "look", "one two").count(count) == 3 + 8
