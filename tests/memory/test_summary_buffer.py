"""Working memory by size: what is summed up when, and that it never takes more room than it has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.llm import tokens
from app.memory.summary_buffer import PART, SummaryBuffer, block
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


@given(LINES, st.integers(1, 400), st.none() | st.integers(1, 100))
def test_portions_are_the_whole_text_in_order(texts: list[str], budget: int, most: int | None) -> None:
    buffer, messages = SummaryBuffer(budget, tokens.count), talk(*texts)
    portions = list(buffer.portions(messages, most=most))
    assert [portion.upto for portion in portions] == sorted([portion.upto for portion in portions])
    assert portions[-1].upto == len(texts)
    told = "".join([portion.text for portion in portions])
    for word in ("User: ", "Assistant: ", PART):
        told = told.replace(word, "")
    assert "".join(told.split()) == "".join("".join(texts).split())


@pytest.mark.parametrize(
    "text", ["word " * 5000, "x" * 20_000, "one\n" * 3000 + "last", "\u732b" * 4000, "  \n " * 9000]
)
def test_a_message_longer_than_a_portion_is_read_in_pieces(text: str) -> None:
    buffer = SummaryBuffer(2000, tokens.count)
    portions = list(buffer.portions(talk("Before", "Yes", text, "After")))
    assert all(tokens.count(portion.text) <= buffer.portion_tokens + 8 for portion in portions)
    assert [portion.upto for portion in portions] == sorted([portion.upto for portion in portions])
    assert portions[-1].upto == 4
    assert portions[-1].text.endswith("Assistant: After")
    assert sum([len("".join(portion.text.split())) for portion in portions]) >= len("".join(text.split()))


def test_one_call_reads_no_more_than_a_model_can_keep_in_mind() -> None:
    buffer = SummaryBuffer(600_000, words)
    assert (buffer.portion_tokens, buffer.longest) == (6000, 2000)
    assert len(list(buffer.portions(talk("word " * 13_000)))) == 3


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
    requests = [buffer.request(old, portion.text) for portion in buffer.portions(said)]
    assert len(requests) > 5
    for request in requests:
        assert sum([message.count(tokens.count) for message in request]) <= buffer.budget
        assert ("Summary so far:\nAnn" in request[1].text()) == bool(old)
    assert "User: My cat is called Pixel." in requests[0][1].text()
    assert "User: And?\nAssistant: Fine." in requests[-1][1].text()


def test_without_a_model_that_sums_up_it_is_a_window() -> None:
    buffer = SummaryBuffer(2000, words, sums_up=False)
    assert not buffer.sums_up
    assert SummaryBuffer(2000, words).sums_up
