"""Working memory by size: what is summed up when, and that it never takes more room than it has."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm import tokens
from app.memory.summary_buffer import SummaryBuffer, block
from app.memory.working import Entry, entry

LINES = st.lists(st.text(alphabet=st.sampled_from('ab. ü€😀\n"<|>'), max_size=60), min_size=1, max_size=12)


def talk(*texts: str) -> list[Entry]:
    """Users and assistants by turns."""
    return [entry("assistant" if place % 2 else "user", text, seq=place + 1) for place, text in enumerate(texts)]


def words(text: str) -> int:
    return len(text.split())


def test_the_parts_of_a_budget() -> None:
    buffer = SummaryBuffer(2000, words)
    assert (buffer.threshold, buffer.target, buffer.longest) == (1600, 1200, 400)
    assert SummaryBuffer(100, words, threshold=0.5).target == 50, "a target above the threshold would never be met"


@given(LINES, st.integers(1, 200), st.integers(0, 300))
def test_history_and_what_is_taken_fit_the_budget_unless_the_newest_alone_does_not(
    texts: list[str], budget: int, taken: int
) -> None:
    buffer, messages = SummaryBuffer(budget, tokens.count), talk(*texts)
    selected = list(buffer.select(messages, taken=taken))
    assert selected == messages[-len(selected) :]
    assert selected
    if len(selected) > 1:
        assert buffer.total(selected) + taken <= budget


@given(LINES, st.integers(1, 200))
def test_what_is_left_after_a_cut_meets_the_target_and_keeps_the_last_exchange(texts: list[str], budget: int) -> None:
    buffer, messages = SummaryBuffer(budget, tokens.count), talk(*texts)
    kept = messages[buffer.cut(messages) :]
    users = [message for message in messages if message.is_users]
    assert users[-1] in kept
    if kept[0] is not users[-1]:
        assert buffer.total(kept) + buffer.longest <= buffer.target


@given(LINES, st.integers(1, 400), st.text(max_size=80))
def test_portions_cover_everything_in_order(texts: list[str], budget: int, old: str) -> None:
    buffer, rest = SummaryBuffer(budget, tokens.count), talk(*texts)
    while rest:
        count = buffer.portion(rest)
        assert 0 < count <= len(rest)
        rest = rest[count:]


@given(st.text(max_size=2000), st.integers(170, 400))
def test_a_summary_never_takes_more_than_its_share(text: str, budget: int) -> None:
    buffer = SummaryBuffer(budget, tokens.count)
    assert buffer.sums_up
    short, counted = buffer.fitted(text)
    assert counted == tokens.count(block(short))
    assert counted <= buffer.longest


def test_a_budget_without_room_for_a_summary_is_a_window() -> None:
    assert not SummaryBuffer(100, tokens.count).sums_up
    assert SummaryBuffer(200, tokens.count).sums_up


def test_a_summary_is_cut_behind_a_sentence_if_one_ends_near() -> None:
    text = "Ann lives in Oslo. She has a cat. " * 40
    short, _ = SummaryBuffer(300, tokens.count).fitted(text)
    assert short.endswith(("cat.", "Oslo."))
    assert SummaryBuffer(2000, tokens.count).fitted(" Short. ")[0] == "Short."


@pytest.mark.parametrize("old", ["", "Ann lives in Oslo. " * 20])
def test_a_request_for_a_summary_fits_the_budget_whatever_was_said(old: str) -> None:
    buffer = SummaryBuffer(2000, tokens.count)
    said = talk("My cat is called Pixel.", "Nice. " * 5000, "And?", "Fine.")
    request = buffer.request(old, said[: buffer.portion(said)])
    assert sum([Entry(message).count(tokens.count) for message in request]) <= buffer.budget
    request = buffer.request(old, said)
    assert sum([Entry(message).count(tokens.count) for message in request]) <= buffer.budget
    content = orjson.loads(request[1])["content"]
    assert "User: My cat is called Pixel." in content
    assert content.count("[…]") == 1
    assert "User: And?\nAssistant: Fine." in content
    assert ("Summary so far:\nAnn" in content) == bool(old)


def test_without_a_model_that_sums_up_it_is_a_window() -> None:
    buffer = SummaryBuffer(2000, words, sums_up=False)
    assert not buffer.sums_up
    assert SummaryBuffer(2000, words).sums_up
