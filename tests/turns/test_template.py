"""Requests in the form that the strictest chat template takes, whatever the history is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.memory.working import Entry, calls_entry, entry, tool_entry
from app.turns.template import LEFT_OUT, NOT_KEPT, fit_template, from_user, in_template

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


# -- with tools ---------------------------------------------------------------------------------------------------

IDS = st.sampled_from(["1", "2", "3", ""])
WORDS = st.text(alphabet='ab\n"ü', min_size=1).filter(str.strip)
TOLD = st.builds(entry, ROLES, WORDS)
CALLS = st.builds(
    lambda text, ids: calls_entry(text, [(call_id, "look", '{"a": 1}') for call_id in ids]),
    st.just("") | WORDS,
    st.lists(IDS, min_size=1, max_size=3),
)
RESULTS = st.builds(lambda call_id, text: tool_entry(call_id, "look", text), IDS, WORDS)
ACTIONS = st.lists(st.one_of(TOLD, CALLS, RESULTS), max_size=16)


def refuse_with_tools(request: Sequence[dict[str, Any]]) -> str | None:
    """What the strictest template says against a request with tools; `None` if it takes it."""
    said = list(request[1:] if request and request[0]["role"] == "system" else request)
    next_is_user = True
    while said:
        message = said.pop(0)
        if message["role"] != ("user" if next_is_user else "assistant"):
            return f"{message['role']} out of turn"
        next_is_user = message["role"] == "assistant"
        if calls := message.get("tool_calls"):
            results = [said.pop(0) for _ in calls[: len(said)]]
            if [(one["role"], one.get("tool_call_id")) for one in results] != [("tool", one["id"]) for one in calls]:
                return "a step that is not whole"
            next_is_user = False
        elif not message["content"].strip():
            return "a blank message"
    return "the assistant speaks last" if next_is_user else None


def loaded(history: Sequence[Entry]) -> list[dict[str, Any]]:
    return [orjson.loads(encoded) for encoded in fit_template(history)]


def brief(history: str) -> list[Entry]:
    """`u1` and `a1` are texts, `c:12` calls with the ids 1 and 2, `x:12` the same with a text, `t1` a result."""
    made: list[Entry] = []
    for word in history.split():
        if word[1] == ":":
            calls = [(call_id, "look", "{}") for call_id in word[2:]]
            made.append(calls_entry("x" if word[0] == "x" else "", calls))
        elif word[0] == "t":
            made.append(tool_entry(word[1], "look", word))
        else:
            made.append(entry({"u": "user", "a": "assistant", "s": "system"}[word[0]], word))
    return made


def named(request: Sequence[dict[str, Any]]) -> str:
    words = []
    for message in request:
        content = {LEFT_OUT: "…", NOT_KEPT: "?", None: ""}.get(message["content"], message["content"])
        calls = "".join(call["id"] for call in message.get("tool_calls", []))
        words.append((content + (f"c:{calls}" if calls else "")).replace("\n\n", "+"))
    return " ".join(words)


@given(ACTIONS)
def test_the_strictest_template_takes_any_history_with_tools(history: list[Entry]) -> None:
    assert refuse_with_tools(loaded(history)) is None


@given(ACTIONS)
def test_no_text_and_no_call_is_lost_or_moved(history: list[Entry]) -> None:
    request = in_template(history)
    for side in ("system", "user", "assistant"):
        texts = [message.text() for message in request if message.role == side]
        whole = "\n\n".join([text for text in texts if text and text != LEFT_OUT])
        assert whole == "\n\n".join([one.text() for one in history if one.role == side and one.text()])
    assert [one.calls() for one in request if one.calls()] == [one.calls() for one in history if one.calls()]


@given(ACTIONS)
def test_what_fits_the_template_stays_as_it_is(history: list[Entry]) -> None:
    request = in_template(history)
    assert in_template(request) is request


@pytest.mark.parametrize(
    ("history", "request_"),
    [
        ("u1 c:1 t1", "u1 c:1 t1"),
        ("u1 c:12 t1 t2 a1 u2", "u1 c:12 t1 t2 a1 u2"),
        ("u1 c:12 t2 t1", "u1 c:12 t1 t2"),
        ("u1 c:12 t2", "u1 c:12 ? t2"),
        ("u1 c:12 t1", "u1 c:12 t1 ?"),
        ("u1 c:1", "u1 c:1 ?"),
        ("u1 c:1 t1 t1 t3", "u1 c:1 t1"),
        ("u1 t1 a1 u2", "u1 a1 u2"),
        ("u1 c:1 t1 c:1 t1", "u1 c:1 t1 c:1 t1"),
        ("u1 c:1 c:1 t1", "u1 c:1 ? c:1 t1"),
        ("u1 c:12 t1 u2 t2", "u1 c:12 t1 t2 … u2"),
        ("u1 a1 c:1 t1", "u1 a1c:1 t1"),
        ("u1 a1 x:1 t1 a2", "u1 a1+xc:1 t1 a2 …"),
        ("u1 c:1 t1 a1 x:2 t2 a2 u2", "u1 c:1 t1 a1+xc:2 t2 a2 u2"),
        ("c:1 t1 a1 u1", "… c:1 t1 a1 u1"),
        ("s1 t1 u1 s2", "s1+s2 u1"),
        ("t1", "…"),
    ],
)
def test_steps_are_made_whole(history: str, request_: str) -> None:
    assert named(loaded(brief(history))) == request_


def test_whole_steps_are_sent_as_they_were_encoded() -> None:
    history = brief("s1 u1 c:12 t1 t2 x:3 t3 a1 u2 c:1 t1")
    assert in_template(history) is history


def test_a_cut_history_begins_with_the_user_also_behind_steps() -> None:
    assert named(loaded(from_user(brief("t1 c:2 t2 a1 u1 c:3 t3")))) == "u1 c:3 t3"
