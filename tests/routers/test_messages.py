"""What a waiting caller gets for each end of its turn."""

from __future__ import annotations

import json

import pytest

from app.domain.errors import HectorError
from app.domain.turn import Failure, Outcome, Timings, TurnState, Usage
from app.doors.answers import answer
from app.doors.error_table import status_of
from app.doors.schemas.messages import answer_json


def an_outcome(state: TurnState, reason: str | None = None, failure: Failure | None = None) -> Outcome:
    return Outcome("t1", state, reason, "Half", "m1", Usage(1, 2, "provider"), Timings(0.5, None, 1.0), failure)


def failed(reason: str) -> Outcome:
    return an_outcome(TurnState.FAILED, reason, Failure(reason, "It is ill"))


def test_a_completed_turn_is_answered_with_its_text() -> None:
    outcome = an_outcome(TurnState.COMPLETED)
    outcome.raise_for_end("s1")
    assert answer_json("s1", outcome) == {
        "response": "Half",
        "session_id": "s1",
        "turn_id": "t1",
        "message_id": "m1",
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "source": "provider"},
        "timings": {"queued_ms": 0.5, "first_token_ms": None, "total_ms": 1.0},
    }


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ('{"a": 12345678901234567890123}', {"a": 12345678901234567890123}),
        ("```json\n[1]\n```", [1]),
        ("null", None),
    ],
)
def test_an_answer_in_json_has_its_value(text: str, output: object) -> None:
    shown = json.loads(
        bytes(answer(answer_json("s1", Outcome("t1", TurnState.COMPLETED, None, text), is_json=True)).body)
    )
    assert (shown["response"], shown["output"]) == (text, output)


@pytest.mark.parametrize("text", ["Half", "", "[forgotten]", "[" * 100_000])
def test_what_is_no_json_has_no_value(text: str) -> None:
    shown = json.loads(
        bytes(answer(answer_json("s1", Outcome("t1", TurnState.COMPLETED, None, text), is_json=True)).body)
    )
    assert shown["response"] == text
    assert "output" not in shown


@pytest.mark.parametrize(
    ("outcome", "status", "code", "reason"),
    [
        (an_outcome(TurnState.CANCELLED, "cancelled"), 409, "ABORTED", "turn_cancelled"),
        (an_outcome(TurnState.CANCELLED, "replaced"), 409, "ABORTED", "turn_cancelled"),
        (an_outcome(TurnState.CANCELLED, "session_terminated"), 410, "FAILED_PRECONDITION", "session_terminated"),
        (an_outcome(TurnState.INTERRUPTED, "shutdown"), 503, "UNAVAILABLE", "shutting_down"),
        (an_outcome(TurnState.INTERRUPTED, "crash"), 503, "UNAVAILABLE", "shutting_down"),
        (failed("llm_error"), 502, "UNAVAILABLE", "llm_error"),
        (failed("llm_timeout"), 504, "DEADLINE_EXCEEDED", "llm_timeout"),
        (failed("storage_unavailable"), 503, "UNAVAILABLE", "storage_unavailable"),
        (failed("internal"), 500, "INTERNAL", "internal"),
    ],
)
def test_every_other_end_is_an_error_with_what_there_was(outcome: Outcome, status: int, code: str, reason: str) -> None:
    with pytest.raises(HectorError) as caught:
        outcome.raise_for_end("s1")
    assert (*status_of(caught.value), caught.value.reason) == (status, code, reason)
    assert caught.value.details["turn_id"] == "t1"
    assert caught.value.details["partial"] == "Half"


def test_the_providers_own_words_are_passed_on() -> None:
    failure = Failure("llm_error", "It is ill", detail="cough", provider_status=500)
    with pytest.raises(HectorError) as caught:
        an_outcome(TurnState.FAILED, "llm_error", failure).raise_for_end("s1")
    assert caught.value.message == "It is ill"
    assert caught.value.details["detail"] == "cough"
    assert caught.value.details["provider_status"] == 500
