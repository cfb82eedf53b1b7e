"""The nouns: who may see what, which states are final, and what every error says."""

from __future__ import annotations

import re

import pytest

from app.domain import errors
from app.domain.principal import Principal
from app.domain.turn import FINAL, OPEN, TurnState, Usage


@pytest.mark.parametrize(
    ("asking", "owner", "user_id", "may"),
    [
        (Principal("alice", "key"), "alice", "alice", True),
        (Principal("alice", "key"), "alice", "u7", True),
        (Principal("alice", "key", "u7"), "alice", "u7", True),
        (Principal("alice", "key", "u7"), "alice", "alice", False),
        (Principal("alice", "key", "u7"), "alice", "u8", False),
        (Principal("alice", "key"), "bob", "alice", False),
        (Principal("alice", "key", "u7"), "bob", "u7", False),
        (Principal("anonymous", "anonymous"), "anonymous", "u7", True),
        (Principal("anonymous", "anonymous", "u8"), "anonymous", "u7", False),
    ],
)
def test_ones_own_and_of_those_the_ones_of_the_named_user(
    asking: Principal, owner: str, user_id: str, may: bool
) -> None:
    assert asking.may_see(owner, user_id) is may


def test_a_turn_is_queued_open_or_final() -> None:
    assert {state for state in TurnState if state.is_final} == FINAL
    assert not FINAL & OPEN
    assert set(TurnState) == FINAL | OPEN | {TurnState.QUEUED}


def test_usage_has_a_total() -> None:
    assert Usage(3, 4, "provider").to_json() == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "source": "provider",
    }


def leaves(kind: type[errors.HectorError]) -> list[type[errors.HectorError]]:
    return [found for below in kind.__subclasses__() for found in (below, *leaves(below))]


def test_the_drawing_of_the_tree_is_true() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(.+)", errors.__doc__ or ""))
    assert set(drawn) == {kind.__name__ for kind in leaves(errors.HectorError) if kind.__module__ == errors.__name__}


def test_an_error_has_a_reason_a_sentence_and_details_of_its_own() -> None:
    error = errors.Conflict("It is busy.", reason="session_busy", details={"turn_id": "t1"})
    assert (str(error), error.reason, error.details) == ("It is busy.", "session_busy", {"turn_id": "t1"})
    assert errors.TooLarge("Too much.").reason == "too_large"
    assert errors.TooLarge("Too much.").details is not errors.TooLarge("Too much.").details


@pytest.mark.parametrize("status", ["ended", "expired", "terminated"])
def test_a_session_that_is_over_says_how(status: str) -> None:
    error = errors.session_over(status, "s1")
    assert error.reason == f"session_{status}"
    assert "'s1'" in error.message
