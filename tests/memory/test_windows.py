"""Working memory: the newest messages, within the budget, never without the newest one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm import tokens
from app.memory.buffer_window import BufferWindow
from app.memory.summary_buffer import SummaryBuffer
from app.memory.working import MESSAGE_OVERHEAD_TOKENS, Entry, entry

TEXTS = st.lists(st.text(alphabet=st.sampled_from('ab ü€😀\n"<|>'), max_size=40), min_size=1, max_size=12)


def history(*texts: str) -> list[Entry]:
    return [entry("assistant" if place % 2 else "user", text) for place, text in enumerate(texts)]


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("size", "selected"), [(1, ["c"]), (2, ["b", "c"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])]
)
def test_a_buffer_window_holds_the_newest(size: int, selected: list[str]) -> None:
    window = BufferWindow(size)
    assert [found.text() for found in window.select(history("a", "b", "c"))] == selected
    assert window.wants_more(history("a", "b", "c")) is (size > 3)


@given(TEXTS, st.integers(1, 120))
def test_a_summary_buffer_never_costs_more_than_its_budget_unless_the_newest_does(
    texts: list[str], budget: int
) -> None:
    messages = history(*texts)
    selected = list(SummaryBuffer(budget, tokens.count).select(messages))
    cost = [tokens.count(text) + MESSAGE_OVERHEAD_TOKENS for text in texts]
    assert selected == messages[-len(selected) :], "the newest, in their order"
    assert selected
    if len(selected) > 1:
        assert sum(cost[-len(selected) :]) <= budget
    if len(selected) < len(messages):
        assert sum(cost[-len(selected) - 1 :]) > budget, "no room is left unused"


@given(TEXTS, st.integers(1, 120))
def test_what_is_wanted_more_of_could_still_be_selected(texts: list[str], budget: int) -> None:
    window, messages = SummaryBuffer(budget, tokens.count), history(*texts)
    if not window.wants_more(messages):
        older = entry("user", "")
        assert len(window.select([older, *messages])) <= len(messages)


@given(st.text())
def test_the_free_bound_is_a_bound(text: str) -> None:
    made = entry("user", text)
    bound = made.at_most()
    assert made.count(tokens.count) <= bound
    assert made.at_most() == made.count(tokens.count), "once counted, the number is known"


def test_tokens_are_counted_once_and_only_when_it_matters() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return words(text)

    messages = history("one", "two", "three")
    SummaryBuffer(10_000, count).select(messages)
    assert counted == []
    for _ in range(3):
        SummaryBuffer(12, count).select(messages)
    assert sorted(counted) == sorted(set(counted))


def test_nothing_is_selected_from_nothing() -> None:
    assert list(SummaryBuffer(10, words).select([])) == []
    assert SummaryBuffer(10, words).wants_more([])
    assert list(BufferWindow(3).select([])) == []


def test_an_entry_is_the_message_the_model_receives() -> None:
    made = entry("user", 'Grüße "an"\nalle')
    assert made.encoded == '{"role":"user","content":"Grüße \\"an\\"\\nalle"}'.encode()
    assert made.text() == 'Grüße "an"\nalle'
