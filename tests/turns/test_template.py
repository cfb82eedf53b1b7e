"""Requests in the form that the strictest chat template takes, whatever the history is."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.memory.working import Entry, entry
from app.turns.template import LEFT_OUT, fit_template

ROLES = st.sampled_from(["user", "assistant", "system"])
HISTORIES = st.lists(st.tuples(ROLES, st.text(alphabet='ab\n"ü', min_size=1).filter(str.strip)), max_size=12)


def told(*said: tuple[str, str]) -> list[tuple[str, str]]:
    return decoded(fit_template([entry(role, text) for role, text in said]))


def decoded(request: Sequence[bytes]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in map(orjson.loads, request)]


def refuse(request: Sequence[tuple[str, str]]) -> str | None:
    """What the strictest template says against a request; `None` if it takes it."""
    said = request[1:] if request and request[0][0] == "system" else request
    if any(role == "system" for role, _ in said):
        return "a system message that is not the first"
    if [role for role, _ in said] != ["user", "assistant"] * (len(said) // 2) + ["user"]:
        return "user and assistant do not alternate, from user to user"
    return "a blank message" if any(not content.strip() for _, content in request) else None


@given(HISTORIES)
def test_the_strictest_template_takes_any_history(history: list[tuple[str, str]]) -> None:
    assert refuse(told(*history)) is None


@given(HISTORIES)
def test_nothing_that_was_said_is_lost_or_moved(history: list[tuple[str, str]]) -> None:
    request = told(*history)
    for side in ("system", "user", "assistant"):
        texts = [content for role, content in request if role == side and content != LEFT_OUT]
        assert "\n\n".join(texts) == "\n\n".join([content for role, content in history if role == side])


@pytest.mark.parametrize(
    ("history", "request_"),
    [
        ("u1 a1 u2", "u1 a1 u2"),
        ("s1 u1", "s1 u1"),
        ("s1 u1 u2 u3", "s1 u1+u2+u3"),
        ("s1 u1 a1 a2 u2", "s1 u1 a1+a2 u2"),
        ("s1 a1 u1", "s1 … a1 u1"),
        ("u1 a1", "u1 a1 …"),
        ("s1 u1 s2 u2 a1 s3 u3", "s1+s2+s3 u1+u2 a1 u3"),
        ("u1 s1 a1 u2", "s1 u1 a1 u2"),
        ("", "…"),
    ],
)
def test_neighbours_are_joined_and_gaps_are_marked(history: str, request_: str) -> None:
    sides = {"u": "user", "a": "assistant", "s": "system", "…": "user"}
    expected = [(sides[part[0]], LEFT_OUT if part == "…" else part.replace("+", "\n\n")) for part in request_.split()]
    assert told(*[(sides[word[0]], word) for word in history.split()]) == expected


def test_a_history_that_alternates_is_sent_as_it_was_encoded() -> None:
    history: list[Entry] = [entry(role, "x") for role in ("system", "user", "assistant", "user")]
    request = fit_template(history)
    assert all(sent is message.encoded for sent, message in zip(request, history, strict=True))
