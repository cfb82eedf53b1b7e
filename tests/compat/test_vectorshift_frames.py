"""Frames of the VectorShift door that no test of a whole session is long enough for."""

from __future__ import annotations

import json

import pytest

from app.compat.vectorshift import frames


@pytest.mark.parametrize("letter", ["x", "\n", "ü", "\U0001f600"])
def test_an_answer_larger_than_the_client_accepts_is_cut_and_says_so(letter: str) -> None:
    frame = frames.complete("sess_1", "agent_1", "msg_1", letter * 6_000_000)

    assert 3_000_000 < len(frame) <= frames.MOST_BYTES
    value = json.loads(frame)["message"]["content"]["value"]
    assert value.endswith(frames.CUT)
    assert set(value.removesuffix(frames.CUT)) == {letter}
