"""What the command line says of older messages that the model was not given word for word."""

from __future__ import annotations

import io

import pytest

from app.cli.screen import Plain
from app.cli.show import summary_words
from hector_client.events import Summary


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
