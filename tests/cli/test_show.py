"""What the command line says of older messages that the model was not given word for word, and of budgets."""

from __future__ import annotations

import io

import pytest

from app.cli.screen import Plain
from app.cli.show import budget_words, summary_words
from hector_client.events import Budget, Summary


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        (Summary(status="used"), "Older messages are summarised."),
        (Summary(status="written"), "Older messages are summarised."),
        (Summary(status="left_out", left_out=1), "1 older message is left out."),
        (Summary(status="left_out", left_out=3), "3 older messages are left out."),
        (
            Summary(status="failed", message="no such model", left_out=2),
            "Older messages could not be summarised: no such model; 2 older messages are left out.",
        ),
        (Summary(status="no_room"), "The message is too long for older ones beside it."),
        (
            Summary(status="no_room", left_out=4),
            "The message is too long for older ones beside it: 4 older messages are left out.",
        ),
    ],
)
def test_it_says_what_became_of_them(summary: Summary, words: str) -> None:
    assert summary_words(summary) == words


def test_in_a_pipe_it_goes_beside_the_answer() -> None:
    out, notes = io.StringIO(), io.StringIO()
    output = Plain(out, notes)
    output.note("3 older messages are left out.")
    output.text("Yes")
    output.close()
    assert (out.getvalue(), notes.getvalue()) == ("Yes\n", "hector: 3 older messages are left out.\n")


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (
            Budget(kind="tokens", used=8000, limit=10_000, action="warn"),
            "Budget: 8,000 of 10,000 tokens used (80 %).",
        ),
        (
            Budget(kind="session_cost", used=1.5, limit=1.5, action="land"),
            "Budget: 1.5 of 1.5 cost of the session used (100 %). The model is told to conclude.",
        ),
        (
            Budget(kind="calls", used=1, limit=0, action="stop"),
            "Budget: 1 of 0 calls used (100 %). The answer is stopped.",
        ),
    ],
)
def test_a_budget_is_told_in_a_sentence(budget: Budget, words: str) -> None:
    assert budget_words(budget) == words
