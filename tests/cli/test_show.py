"""What is said below an answer that is complete but not whole."""

from __future__ import annotations

import pytest

from app.cli.show import shortfall_of
from hector_client.events import TurnFinished


def ended(finish_reason: str | None, *, status: str = "completed", message_id: str | None = "m1") -> TurnFinished:
    return TurnFinished(status=status, message_id=message_id, finish_reason=finish_reason)


@pytest.mark.parametrize(
    ("finished", "words"),
    [
        (ended("length"), "limit of tokens"),
        (ended("content_filter"), "filter"),
        (ended("refusal"), "refused"),
        (ended("stop", message_id=None), "without a word"),
    ],
)
def test_what_an_answer_lacks_is_said(finished: TurnFinished, words: str) -> None:
    assert words in (shortfall_of(finished) or "")


@pytest.mark.parametrize("finished", [None, ended("stop"), ended(None), ended("eos"), ended("length", status="failed")])
def test_a_whole_answer_and_a_failure_get_no_such_line(finished: TurnFinished | None) -> None:
    assert shortfall_of(finished) is None
