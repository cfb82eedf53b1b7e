"""What a waiting caller gets for each end of its turn."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import HectorError
from app.domain.turn import TurnState
from app.routers.errors import status_of
from app.routers.messages import _answered
from app.turns.desk import Outcome


def an_outcome(state: TurnState, reason: str | None = None, error: dict[str, Any] | None = None) -> Outcome:
    return Outcome("t1", state, reason, "Half", "m1", {"total_tokens": 3}, {"total_ms": 1.0}, error)


def test_a_completed_turn_is_answered_with_its_text() -> None:
    assert _answered("s1", an_outcome(TurnState.COMPLETED)) == {
        "response": "Half",
        "session_id": "s1",
        "turn_id": "t1",
        "message_id": "m1",
        "usage": {"total_tokens": 3},
        "timings": {"total_ms": 1.0},
    }


@pytest.mark.parametrize(
    ("outcome", "status", "code", "reason"),
    [
        (an_outcome(TurnState.CANCELLED, "cancelled"), 409, "ABORTED", "turn_cancelled"),
        (an_outcome(TurnState.CANCELLED, "replaced"), 409, "ABORTED", "turn_cancelled"),
        (an_outcome(TurnState.CANCELLED, "session_terminated"), 410, "FAILED_PRECONDITION", "session_terminated"),
        (an_outcome(TurnState.INTERRUPTED, "shutdown"), 503, "UNAVAILABLE", "shutting_down"),
        (an_outcome(TurnState.INTERRUPTED, "crash"), 503, "UNAVAILABLE", "shutting_down"),
        (an_outcome(TurnState.FAILED, "llm_error", {"message": "It is ill"}), 502, "UNAVAILABLE", "llm_error"),
        (an_outcome(TurnState.FAILED, "llm_timeout", {}), 504, "DEADLINE_EXCEEDED", "llm_timeout"),
        (an_outcome(TurnState.FAILED, "storage_unavailable", {}), 503, "UNAVAILABLE", "storage_unavailable"),
        (an_outcome(TurnState.FAILED, "internal", {}), 500, "INTERNAL", "internal"),
    ],
)
def test_every_other_end_is_an_error_with_what_there_was(outcome: Outcome, status: int, code: str, reason: str) -> None:
    with pytest.raises(HectorError) as caught:
        _answered("s1", outcome)
    assert (*status_of(caught.value), caught.value.reason) == (status, code, reason)
    assert caught.value.details["turn_id"] == "t1"
    assert caught.value.details["partial"] == "Half"


def test_the_providers_own_words_are_passed_on() -> None:
    error = {"reason": "llm_error", "message": "It is ill", "detail": "cough", "provider_status": 500}
    with pytest.raises(HectorError) as caught:
        _answered("s1", an_outcome(TurnState.FAILED, "llm_error", error))
    assert caught.value.message == "It is ill"
    assert caught.value.details["detail"] == "cough"
    assert caught.value.details["provider_status"] == 500
