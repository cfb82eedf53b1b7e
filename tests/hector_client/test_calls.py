"""What is asked of the server about calls of tools, and what the caller gets of its answers."""

from __future__ import annotations

from typing import Any

import pytest

from hector_client import _operations as operations
from hector_client._following import Patience
from hector_client._state import SessionState
from hector_client._steps import Call, Reply, Request

ACT = {"call_id": "c/1", "state": "waiting"}
WHERE = ("assistant", "s")
SESSION = "/agents/assistant/sessions/s"


def asked(steps: Call[Any], answer: Any) -> tuple[str, str, dict[str, Any], Any, Any]:
    """Method, path, query and body of the one request that is made; and what the call ends with."""
    request = next(steps)
    assert isinstance(request, Request)
    with pytest.raises(StopIteration) as ended:
        steps.send(Reply(200, answer))
    return request.method, request.path, dict(request.query), request.body, ended.value.value


def test_calls_are_listed_by_turn_and_state_and_looked_up() -> None:
    listing = operations.calls(*WHERE, turn_id="t1", state="unknown", limit=200)

    assert asked(listing, {"calls": [ACT]}) == (
        *("GET", f"{SESSION}/calls", {"turn_id": "t1", "state": "unknown", "limit": "200"}, None),
        [ACT],
    )
    assert asked(operations.call(*WHERE, "c/1"), ACT) == ("GET", f"{SESSION}/calls/c%2F1", {}, None, ACT)


@pytest.mark.parametrize(("session_id", "path"), [("s", f"{SESSION}/approvals"), (None, "/agents/assistant/approvals")])
def test_what_waits_for_a_decision_is_listed_of_a_session_or_of_all(session_id: str | None, path: str) -> None:
    listing = operations.approvals("assistant", session_id, limit=50)

    assert asked(listing, {"approvals": [ACT]}) == ("GET", path, {"limit": "50"}, None, [ACT])


def test_a_decision_says_only_what_was_given() -> None:
    decision = {"approved": True, "arguments": {"path": "a"}, "reason": None, "remember": "agent"}

    assert asked(operations.decide(*WHERE, "c/1", decision), ACT) == (
        *(
            "POST",
            f"{SESSION}/approvals/c%2F1",
            {},
            {"approved": True, "arguments": {"path": "a"}, "remember": "agent"},
        ),
        ACT,
    )


@pytest.mark.parametrize("outcome", [{"result": None}, {"result": {"paid": True}}, {"error": "no credit"}])
def test_an_outcome_is_posted_also_when_it_is_null(outcome: dict[str, Any]) -> None:
    posting = operations.post_result(*WHERE, "c1", outcome)

    assert asked(posting, ACT) == ("POST", f"{SESSION}/calls/c1/result", {}, outcome, ACT)


def test_an_unknown_call_is_resolved() -> None:
    resolving = operations.resolve(*WHERE, "c1", {"happened": False})

    assert asked(resolving, ACT) == ("POST", f"{SESSION}/calls/c1/resolve", {}, {"happened": False}, ACT)


def test_a_stored_result_is_read_in_pieces() -> None:
    piece = {"result_id": "res_1", "bytes": 9, "offset": 4, "text": "five", "next_offset": None}
    reading = operations.stored_result(*WHERE, "res_1", offset=4, limit=5, grep=None)

    assert asked(reading, piece) == ("GET", f"{SESSION}/results/res_1", {"offset": "4", "limit": "5"}, None, piece)


def test_a_message_is_steered_under_a_key_of_its_own() -> None:
    session = SessionState("assistant", "s", about=None)
    accepted = {"turn_id": "t1", "message_id": "m2", "steer": "accepted"}
    method, path, _, body, answer = asked(session._steer("Shorter", Patience(5.0, "the script")), accepted)

    assert (method, path, answer) == ("POST", f"{SESSION}/messages", accepted)
    assert body == {"message": "Shorter", "on_busy": "steer"}
